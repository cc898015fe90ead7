"""The cost of the prediction ensemble, relative to one forward pass, to its theoretical cost, and to P whole passes."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from domain_masks.networks import Network, masked
from steps import Workload
from timing import Budget, Conditions, Measurement, Seconds, compare, interleave, milliseconds

WORKLOADS = (Workload("resnet18", 64, 64), Workload("mobilenet_v2", 112, 64))
FAST_WORKLOADS = (Workload("small", 32, 8),)
DOMAINS = (3, 5)


def measure(conditions: Conditions) -> Iterator[Measurement]:
    """Yield the ensemble of P = 3 and 5 masks for every network."""
    workloads = FAST_WORKLOADS if conditions.fast else WORKLOADS
    budget = conditions.budget.share(len(workloads) * len(DOMAINS))
    for workload in workloads:
        for domains in DOMAINS:
            yield from _ensemble(workload, domains, budget, conditions.device)


def arithmetic(features: Seconds, task: Seconds, domains: int) -> list[float]:
    """Return (t_F + P t_T) / (t_F + t_T) of every round: the theoretical cost of P masks where F runs once."""
    return [(body + domains * head) / (body + head) for body, head in zip(features, task, strict=True)]


def _ensemble(workload: Workload, domains: int, budget: Budget, device: torch.device) -> Iterator[Measurement]:
    images = workload.images(device)
    bare = workload.build(device).eval()
    network = masked(bare, domains, image_size=workload.pixels).to(device).eval()
    divided = Network(bare, network.boundary, image_size=workload.pixels).eval()
    with torch.inference_mode():
        features = divided.features(images)
    own = [torch.full((workload.batch,), domain, device=device) for domain in range(domains)]
    calls = {
        "bare": lambda: bare(images),
        "features": lambda: divided.features(images),
        "task": lambda: divided.task(features),
        "ensemble": lambda: network.domain_logits(images).mean(0),
        "passes": lambda: torch.stack([network(images, rows) for rows in own]).mean(0),
    }
    with torch.inference_mode():
        seconds = interleave(calls, budget, device)
    forward = f"one forward pass of the bare network ({workload})"
    name = f"prediction ensemble, P = {domains}"
    parts = arithmetic(seconds["features"], seconds["task"], domains)
    yield compare(name, forward, seconds, "ensemble", "bare")
    yield Measurement(
        f"its arithmetic, (t_F + {domains} t_T) / (t_F + t_T)",
        forward,
        parts,
        f"t_F {milliseconds(seconds['features'])}, t_T {milliseconds(seconds['task'])}",
    )
    due = [part * (body + head) for part, body, head in zip(parts, seconds["features"], seconds["task"], strict=True)]
    yield compare(name, f"its arithmetic ({workload})", {**seconds, "due": due}, "ensemble", "due")
    yield compare(f"loop of {domains} whole passes", forward, seconds, "passes", "bare")
