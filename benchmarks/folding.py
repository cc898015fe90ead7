"""The cost of one mask at test time: unfolded, folded into the weights, and pruned, relative to the bare network.

A copy of the bare network is measured as well: what its ratio differs from 1 is no cost of a mask. On a CPU the time is that
of the processor, which other work on the machine changes least.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from copy import deepcopy

import torch

from domain_masks.deploy.exporting.fold import fold
from domain_masks.deploy.exporting.prune import prune
from domain_masks.networks import masked
from steps import Workload
from timing import Budget, Conditions, Measurement, compare, interleave

WORKLOADS = (Workload("alexnet", 224, 16), Workload("resnet18", 64, 64), Workload("mobilenet_v2", 112, 16))
FAST_WORKLOADS = (Workload("small", 32, 8),)
DOMAINS = 3
HALF = 0.5
"""The pruning threshold; masks are drawn so that about half of their probabilities lie below it."""


def measure(conditions: Conditions) -> Iterator[Measurement]:
    """Yield one domain's mask, unfolded, folded and pruned, for every network."""
    workloads = FAST_WORKLOADS if conditions.fast else WORKLOADS
    for workload in workloads:
        yield from _one_mask(workload, conditions.budget.share(len(workloads)), conditions.device)


def _one_mask(workload: Workload, budget: Budget, device: torch.device) -> Iterator[Measurement]:
    images = workload.images(device)
    bare = workload.build(device).eval()
    network = masked(bare, DOMAINS, image_size=workload.pixels).to(device).eval()
    with torch.no_grad():
        generator = torch.Generator(device).manual_seed(0)
        for logits in network.masks.parameters():
            logits.normal_(0, 2, generator=generator)
    factors = {site: masks[0].detach() for site, masks in network.masks.probabilities().items()}
    copied = deepcopy(bare)
    folded, pruned = fold(network, factors).network, prune(network, factors, HALF).network
    rows = torch.zeros(workload.batch, dtype=torch.int64, device=device)
    calls = {
        "bare": lambda: bare(images),
        "copy": lambda: copied(images),
        "unfolded": lambda: network(images, rows),
        "folded": lambda: folded(images),
        "pruned": lambda: pruned(images),
    }
    with torch.inference_mode():
        seconds = interleave(calls, budget, device, time.process_time if device.type == "cpu" else time.perf_counter)
    forward = f"one forward pass of the bare network ({workload})"
    for name, title in (
        ("copy", "a copy of the bare network"),
        ("unfolded", "one mask, unfolded"),
        ("folded", "one mask, folded"),
        ("pruned", "one mask, folded, half of the neurons pruned"),
    ):
        yield compare(title, forward, seconds, name, "bare")
