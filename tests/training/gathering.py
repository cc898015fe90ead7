"""Losses of gathered rows on one process and on several that share the batch.

Run as a script: ``gathering.py FOLDER``; prints a JSON for each loss and number of processes, with the largest difference of
gradients from those of one process, relative to the largest gradient.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from domain_masks.batch import DomainBatch
from domain_masks.processes import process_count, sum_over_processes
from domain_masks.randomness import BatchRandomness
from training.forked import in_processes

ROWS, CLASSES, DOMAINS = 11, 3, 3
Loss = Callable[[nn.Module, DomainBatch], Tensor]


def risks(logits: Tensor, batch: DomainBatch) -> Tensor:
    """Mean loss of each domain over the rows of all processes."""
    losses = functional.cross_entropy(batch.gather(logits), batch.gather(batch.labels), reduction="none")
    domains = batch.gather(batch.domains)
    return torch.stack([losses[domains == domain].mean() for domain in range(DOMAINS)])


def variance_of_risks(network: nn.Module, batch: DomainBatch) -> Tensor:
    """V-REx: the mean over rows, and the variance of the domains' risks."""
    logits = network(batch.images)
    return functional.cross_entropy(logits, batch.labels) + 2 * risks(logits, batch).var(unbiased=False)


def covariances(network: nn.Module, batch: DomainBatch) -> Tensor:
    """CORAL: distances of the domains' covariances, times a factor that is a mean over rows of one's own."""
    logits = network(batch.images)
    rows, domains = batch.gather(logits), batch.gather(batch.domains)
    found = [torch.cov(rows[domains == domain].T) for domain in range(DOMAINS)]
    apart = (found[0] - found[1]).square().sum() + (found[1] - found[2]).square().sum()
    return functional.cross_entropy(logits, batch.labels) + apart


def gradient_norm(network: nn.Module, batch: DomainBatch) -> Tensor:
    """The squared norm of the gradient of the variance of risks: a second derivative."""
    logits = network(batch.images)
    penalty = risks(logits, batch).var(unbiased=False)
    gradients = torch.autograd.grad(penalty, list(network.parameters()), create_graph=True)
    # Of one's own rows each, as engine.reduce takes the mean of: its gradient flows through as well.
    reduced = [sum_over_processes(gradient) / process_count() for gradient in gradients]
    return functional.cross_entropy(logits, batch.labels) + sum(value.square().sum() for value in reduced)


def one_step_ahead(network: nn.Module, batch: DomainBatch) -> Tensor:
    """MLDG: the risk of one domain after a step on the others."""
    weights = dict(network.named_parameters())
    before = risks(network(batch.images), batch)[:2].mean()
    gradients = torch.autograd.grad(before, list(weights.values()), create_graph=True)
    stepped = {
        name: value - 0.5 * sum_over_processes(gradient) / process_count()
        for (name, value), gradient in zip(weights.items(), gradients, strict=True)
    }
    logits = torch.func.functional_call(network, stepped, (batch.images,))
    return before + risks(logits, batch)[2]


def own_anchors(network: nn.Module, batch: DomainBatch) -> Tensor:
    """A mean over rows of one's own, each of which is compared with all."""
    embedded = functional.normalize(network(batch.images), dim=1)
    apart = torch.cdist(embedded + 0.1, batch.gather(embedded))
    same = batch.labels[:, None] == batch.gather(batch.labels)
    partner = batch.gather(embedded)[batch.random.permutation("partner")]
    return (apart * same).logsumexp(1).mean() + (embedded * partner).sum(1).tanh().mean()


LOSSES: tuple[Loss, ...] = (variance_of_risks, covariances, gradient_norm, one_step_ahead, own_anchors)


def network_of() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, CLASSES)).double()


def rows_of(rank: int, processes: int) -> DomainBatch:
    source = torch.Generator().manual_seed(1)
    images = torch.randn(ROWS, 5, generator=source, dtype=torch.float64)
    labels = torch.randint(CLASSES, (ROWS,), generator=source)
    first, last = ROWS * rank // processes, ROWS * (rank + 1) // processes
    own = slice(first, last)
    random = BatchRandomness(0, 0, first, last - first, ROWS)
    domains = torch.arange(ROWS) % DOMAINS
    return DomainBatch(images[own], labels[own], domains[own], torch.arange(ROWS)[own], random=random)


def gradients(loss: Loss, rank: int, processes: int) -> list[Tensor]:
    """Return the gradients as the engine makes them: of each process weighted by its rows, then their mean."""
    network, batch = network_of(), rows_of(rank, processes)
    (loss(network, batch) * (len(batch) * processes / ROWS)).backward()
    found = [parameter.grad for parameter in network.parameters()]
    for gradient in found if processes > 1 else ():
        torch.distributed.all_reduce(gradient)
        gradient.div_(processes)
    return found


def compare(folder: Path, expected: dict[str, list[Tensor]], rank: int, processes: int) -> None:
    store = torch.distributed.FileStore(str(folder / f"store-{processes}"), processes)
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=processes)
    for loss in LOSSES:
        pairs = list(zip(gradients(loss, rank, processes), expected[loss.__name__], strict=True))
        largest = max(float(theirs.abs().max()) for _, theirs in pairs)
        difference = max(float((mine - theirs).abs().max()) for mine, theirs in pairs) / largest
        line = {"loss": loss.__name__, "processes": processes, "difference": difference, "largest": largest}
        # In one piece: the processes write to one pipe.
        os.write(1, f"{json.dumps(line)}\n".encode())
    flags = torch.distributed.get_rank() == 0
    gathered = rows_of(rank, processes).gather(torch.full((len(rows_of(rank, processes)),), flags))
    if gathered.dtype != torch.bool or int(gathered.sum()) != ROWS // processes:
        raise SystemExit(f"expected the flags of all rows, got {gathered}")
    torch.distributed.destroy_process_group()


def main(folder: str) -> None:
    """Compare one process with two and three."""
    torch.set_num_threads(1)
    expected = {loss.__name__: gradients(loss, 0, 1) for loss in LOSSES}
    for processes in (2, 3):
        in_processes(processes, lambda rank, count=processes: compare(Path(folder), expected, rank, count))


if __name__ == "__main__":
    main(*sys.argv[1:])
