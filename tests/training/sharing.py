"""One training step of many small networks, by one process with the whole batch and by several that share it.

Run as a script: ``sharing.py FOLDER``; prints a JSON for each network and number of processes, with the largest difference of
outputs, gradients and running statistics from those of one process, and what could not be cut.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import timm.layers
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from domain_masks.batch import DomainBatch
from domain_masks.randomness import BatchRandomness, repeated
from domain_masks.training.global_batch_norm import GlobalBatchNorm
from domain_masks.training.global_random import GlobalRandom
from training.forked import in_processes

ROWS = 7
STEPS = 2


class Calls(nn.Module):
    """A network whose forward is a function of (itself, its input)."""

    def __init__(self, function: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 8, generator=torch.Generator().manual_seed(1)))
        self.function = function

    def forward(self, images: Tensor) -> Tensor:
        return self.function(self, images)


def attention(module: nn.Module, images: Tensor) -> Tensor:
    tokens = images.flatten(2).transpose(1, 2).reshape(len(images), -1, 2, 4).transpose(1, 2)
    return functional.scaled_dot_product_attention(tokens @ module.weight[:4, :4], tokens, tokens, dropout_p=0.3)


class Tokens(nn.Module):
    """Attention of one of PyTorch's layers on the places of an image."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.3, batch_first=True)

    def forward(self, images: Tensor) -> Tensor:
        return self.layer(images.flatten(2).transpose(1, 2))


def weight_noise(module: nn.Module, images: Tensor) -> Tensor:
    return images.mean((2, 3)) @ (module.weight * torch.bernoulli(torch.full((8, 8), 0.5)))


def windows(module: nn.Module, images: Tensor) -> Tensor:
    """Rows that are divided into four each, as by shifted windows, then dropped."""
    parts = images.unflatten(3, (2, -1)).unflatten(2, (2, -1)).permute(0, 2, 4, 1, 3, 5).flatten(0, 2)
    return functional.dropout(parts, 0.4).unflatten(0, (-1, 4))


def sets(module: nn.Module, images: Tensor) -> Tensor:
    """The whole batch three times, as under three masks."""
    copies = images.expand(3, *images.shape).flatten(0, 1)
    with repeated(3):
        dropped = functional.dropout(copies, 0.4)
    return dropped.unflatten(0, (3, -1)).transpose(0, 1)


def part(module: nn.Module, images: Tensor) -> Tensor:
    """Dropout on some rows alone, which no process can place among those of the others."""
    return torch.cat([functional.dropout(images[:-1], 0.4), images[-1:]]) if len(images) > 2 else images


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "plain": lambda: nn.Conv2d(8, 8, 3),
    "dropout": lambda: nn.Sequential(nn.Conv2d(8, 8, 3), nn.Dropout(0.4), nn.ReLU(), nn.Dropout(0.4)),
    "dropout of channels": lambda: nn.Sequential(
        nn.Dropout2d(0.4), nn.Conv2d(8, 8, 3), nn.Flatten(2), nn.Dropout1d(0.3)
    ),
    "dropout in place": lambda: nn.Sequential(nn.Conv2d(8, 8, 3), nn.Dropout(0.4, inplace=True)),
    "alpha dropout": lambda: nn.Sequential(nn.AlphaDropout(0.4), nn.Conv2d(8, 8, 3), nn.FeatureAlphaDropout(0.3)),
    "channels last": lambda: nn.Sequential(nn.Conv2d(8, 8, 3).to(memory_format=torch.channels_last), nn.Dropout(0.4)),
    "rrelu": lambda: nn.Sequential(nn.Conv2d(8, 8, 3), nn.RReLU(), nn.Dropout(0.2)),
    "attention": lambda: Calls(attention),
    "transformer": Tokens,
    "stochastic depth": lambda: nn.Sequential(
        nn.Conv2d(8, 8, 3), torchvision.ops.StochasticDepth(0.4, "row"), torchvision.ops.StochasticDepth(0.4, "batch")
    ),
    "drop path": lambda: nn.Sequential(nn.Conv2d(8, 8, 3), timm.layers.DropPath(0.4)),
    "noise": lambda: Calls(
        lambda _, images: images + torch.randn_like(images) * torch.rand(len(images), 1, 1, 1) + torch.rand(8, 1, 1)
    ),
    "fractional pooling": lambda: nn.Sequential(nn.Conv2d(8, 8, 3), nn.FractionalMaxPool2d(2, output_size=2)),
    "gumbel": lambda: Calls(lambda module, images: functional.gumbel_softmax(images.mean((2, 3)) @ module.weight)),
    "weight noise": lambda: Calls(weight_noise),
    "windows": lambda: Calls(windows),
    "sets": lambda: Calls(sets),
    "checkpointed": lambda: Calls(
        lambda module, images: checkpoint(
            lambda given: functional.dropout(given.mean((2, 3)) @ module.weight, 0.4), images, use_reentrant=False
        )
    ),
    "batch norm": lambda: nn.Sequential(
        nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8), nn.Dropout(0.2), nn.BatchNorm2d(8, affine=False)
    ),
    "timm's batch norm": lambda: nn.Sequential(nn.Conv2d(8, 8, 3), timm.layers.BatchNormAct2d(8)),
    "other norms": lambda: nn.Sequential(
        timm.layers.ScaledStdConv2d(8, 8, 3), nn.InstanceNorm2d(8), nn.GroupNorm(2, 8), nn.Dropout(0.2)
    ),
    "part": lambda: Calls(part),
}


def images_of(name: str) -> Tensor:
    images = torch.randn(ROWS, 8, 6, 6, generator=torch.Generator().manual_seed(0))
    return images.contiguous(memory_format=torch.channels_last) if name == "channels last" else images


def step(name: str, network: nn.Module, rank: int, processes: int) -> tuple[Tensor, set[str]]:
    """Take forward and backward passes over this process's rows; returns its outputs and what could not be cut."""
    first, last = ROWS * rank // processes, ROWS * (rank + 1) // processes
    outputs, uncut = [], set()
    for number in range(STEPS):
        images = images_of(name)[first:last].requires_grad_()
        random = BatchRandomness(3, number, first, last - first, ROWS)
        batch = DomainBatch(
            images, torch.zeros(len(images)), torch.zeros(len(images)), torch.zeros(len(images)), random=random
        )
        with ExitStack() as stack:
            stack.enter_context(random.seeded("layers"))
            if processes > 1:
                stack.enter_context(GlobalBatchNorm(random, processes))
                draws = stack.enter_context(GlobalRandom(batch, random))
            output = network(images)
            weights = torch.linspace(-1, 1, output[0].numel()).reshape(output[0].shape)
            # A mean over the batch, of which each process brings its share.
            ((output * weights).flatten(1).sum(1).tanh().sum() / ROWS).backward()
        if processes > 1:
            uncut |= draws.uncut
        outputs.append(output.detach())
    return torch.cat(outputs, 1), uncut


def state(network: nn.Module, processes: int) -> list[Tensor]:
    found = []
    for parameter in network.parameters():
        gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        if processes > 1:
            torch.distributed.all_reduce(gradient)
        found.append(gradient)
    return [*found, *(buffer.float() for buffer in network.buffers())]


def main(folder: str) -> None:
    """Compare one process with two and three."""
    torch.set_num_threads(1)
    expected = {}
    for name, build in NETWORKS.items():
        torch.manual_seed(0)
        network = build().train()
        expected[name] = (step(name, network, 0, 1)[0], state(network, 1))
    for processes in (2, 3):
        in_processes(processes, lambda rank, count=processes: compare(Path(folder), expected, rank, count))


def compare(folder: Path, expected: dict[str, tuple[Tensor, list[Tensor]]], rank: int, processes: int) -> None:
    store = torch.distributed.FileStore(str(folder / f"store-{processes}"), processes)
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=processes)
    for name, build in NETWORKS.items():
        torch.manual_seed(0)
        network = build().train()
        outputs, uncut = step(name, network, rank, processes)
        first = ROWS * rank // processes
        differences = [float((outputs - expected[name][0][first : first + len(outputs)]).abs().max())]
        for mine, theirs in zip(state(network, processes), expected[name][1], strict=True):
            differences.append(float((mine - theirs).abs().max()))
        line = {"network": name, "processes": processes, "difference": max(differences), "uncut": sorted(uncut)}
        # In one piece: the processes write to one pipe.
        os.write(1, f"{json.dumps(line)}\n".encode())
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
