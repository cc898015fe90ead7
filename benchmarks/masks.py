"""The cost of masks in training, and of slow formulations of sampling and overlap loss.

Both of AlexNet's dropouts are on in the bare step, as in any training without masks, and off in the DMG step, as in the
paper.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from domain_masks.batch import DomainBatch
from domain_masks.masks import overlap_loss, sample_masks, soft_iou
from domain_masks.networks import MaskedNetwork, Site
from domain_masks.networks.site import apply_mask
from domain_masks.randomness import generator
from steps import MethodStep, Workload, bare_step, build
from timing import Budget, Conditions, Measurement, compare, interleave

WORKLOADS = (Workload("resnet18", 64, 64), Workload("mobilenet_v2", 112, 32), Workload("alexnet", 224, 64))
ROUNDS = 30
"""Pairs of steps, for a bound that is close to the median."""
COPIES = 2
"""Networks of each kind: where a network lies in memory changes its time by a percent."""
FAST_WORKLOADS = (Workload("small", 32, 8), Workload("resnet18", 32, 4))
INSTANCES = 64
NEURONS = 512
SAMPLED_DOMAINS = 3
OVERLAPPING_DOMAINS = (3, 5, 24)


def measure(conditions: Conditions) -> Iterator[Measurement]:
    """Yield mask operations and DMG step against the bare step, and the slow formulations against ours."""
    workloads = FAST_WORKLOADS if conditions.fast else WORKLOADS
    budget = conditions.budget.share(len(workloads) + 1)
    steps = budget if conditions.fast else replace(budget, rounds=ROUNDS // COPIES)
    for workload in workloads:
        for compiled in (False, True) if conditions.compile else (False,):
            yield from _step(workload, steps, conditions.device, compiled)
    small = budget.share(1 + len(OVERLAPPING_DOMAINS))
    yield _sampling(small, conditions.device)
    for domains in OVERLAPPING_DOMAINS:
        yield _overlap(domains, small, conditions.device)


def _step(workload: Workload, budget: Budget, device: torch.device, compiled: bool) -> Iterator[Measurement]:
    batch = workload.domain_batch(device)
    images, labels = batch.images, batch.labels
    if images is None or labels is None:
        raise ValueError("expected a training batch with images and labels")
    calls: dict[str, Callable[[], object]] = {}
    for copy in range(COPIES):
        bare = workload.build(device)
        method = build(workload, "dmg", device)
        network = method.network
        if not isinstance(network, MaskedNetwork):
            raise TypeError(f"expected the masked network of dmg, got {type(network).__name__}")
        calls[f"masks {copy}"] = mask_operations(network, site_inputs(bare, network.sites, images), batch)
        if compiled:
            network.compile_segments()
        calls[f"bare {copy}"] = bare_step(torch.compile(bare) if compiled else bare, images, labels)
        calls[f"dmg {copy}"] = partial(MethodStep(workload, method, device), batch)
    seconds = interleave(calls, budget, device)
    joined = {
        kind: [taken for copy in range(COPIES) for taken in seconds[f"{kind} {copy}"]]
        for kind in ("bare", "masks", "dmg")
    }
    baseline = f"the bare network's training step ({workload}{', compiled' if compiled else ''})"
    yield compare("mask operations, forward and backward", baseline, joined, "masks", "bare")
    yield compare("whole DMG training step", baseline, joined, "dmg", "bare")


def site_inputs(network: nn.Module, sites: tuple[Site, ...], images: Tensor) -> list[Tensor]:
    """Return the input activations of each site, as leaf tensors that require gradients."""
    activations: dict[str, Tensor] = {}

    def recorder(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        return lambda _, inputs: activations.__setitem__(name, inputs[0].detach().clone())

    hooks = [network.get_submodule(site.name).register_forward_pre_hook(recorder(site.name)) for site in sites]
    training = network.training
    # In training mode the forward pass would change the running statistics of batch norm.
    network.eval()
    with torch.no_grad():
        network(images)
    network.train(training)
    for hook in hooks:
        hook.remove()
    return [activations[site.name].requires_grad_() for site in sites]


def mask_operations(network: MaskedNetwork, inputs: list[Tensor], batch: DomainBatch) -> Callable[[], None]:
    """Return the part of a step that masks add: sampling, application at every site, overlap loss, and their gradients."""
    domains, random = batch.domains, batch.random
    if domains is None or random is None:
        raise ValueError("expected a training batch with domains and random numbers of its own")
    gradients = [torch.ones_like(activations) for activations in inputs]
    logits = [logits for _, logits in network.masks.items()]

    def operate() -> None:
        noise = {
            site.name: random.uniform(f"masks/{site.name}", site.size, device=batch.device) for site in network.sites
        }
        sampled = network.masks.sample(domains, noise)
        masked = [
            apply_mask(activations, sampled[site.name], site.axis)
            for site, activations in zip(network.sites, inputs, strict=True)
        ]
        torch.autograd.grad([*masked, network.overlap_loss()], [*inputs, *logits], [*gradients, None])

    return operate


def loop_over_instances(logits: Tensor, domains: Tensor, noise: Tensor | None = None) -> Tensor:
    """Sample like :func:`sample_masks`, instance by instance; the same masks for the same noise."""
    masks = []
    for instance, domain in enumerate(domains.tolist()):
        probabilities = torch.sigmoid(logits[domain])
        drawn = torch.rand_like(probabilities) if noise is None else noise[instance]
        hard = (drawn < probabilities).to(probabilities.dtype)
        masks.append(hard + (probabilities - probabilities.detach()))
    return torch.stack(masks)


def loop_over_pairs(logits: Tensor) -> Tensor:
    """Return the overlap loss as Equation 2 is written: pair by pair of domains."""
    total = logits.new_zeros(())
    for second in range(len(logits)):
        for first in range(second):
            total = total + soft_iou(torch.sigmoid(logits[first]), torch.sigmoid(logits[second]))
    return total


def _logits(domains: int, device: torch.device) -> Tensor:
    return torch.rand(domains, NEURONS, generator=generator(0, "logits")).to(device).requires_grad_()


def _sampling(budget: Budget, device: torch.device) -> Measurement:
    logits = _logits(SAMPLED_DOMAINS, device)
    domains = (torch.arange(INSTANCES) % SAMPLED_DOMAINS).to(device)
    gradient = torch.ones(INSTANCES, NEURONS, device=device)
    calls = {
        "ours": lambda: torch.autograd.grad(sample_masks(logits, domains), logits, gradient),
        "loop": lambda: torch.autograd.grad(loop_over_instances(logits, domains), logits, gradient),
    }
    return compare(
        f"sampling masks in a loop over {INSTANCES} instances",
        f"one gather and one comparison ({SAMPLED_DOMAINS} domains, {NEURONS} neurons)",
        interleave(calls, budget, device),
        "loop",
        "ours",
    )


def _overlap(domains: int, budget: Budget, device: torch.device) -> Measurement:
    logits = _logits(domains, device)
    calls = {
        "ours": lambda: torch.autograd.grad(overlap_loss(logits), logits),
        "loop": lambda: torch.autograd.grad(loop_over_pairs(logits), logits),
    }
    return compare(
        f"overlap loss in a loop over the pairs of {domains} domains",
        f"all pairs in one product ({NEURONS} neurons)",
        interleave(calls, budget, device),
        "loop",
        "ours",
    )
