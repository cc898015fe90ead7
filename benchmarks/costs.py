"""The time of a training step of every method, relative to Aggregate's: the ``cost`` that ``dmg methods`` shows.

For a method with phases it is the mean over its phases, weighted by their share of the epochs. A method that needs features
gets them computed in every step, as without ``--freeze_features``; a closed-form method has no steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch

from domain_masks.methods import METHODS
from steps import MethodStep, Workload, build
from timing import Budget, Conditions, Measurement, compare, interleave

WORKLOADS = (Workload("mobilenet_v2", 96, 48),)
FAST_WORKLOADS = (Workload("small", 32, 12),)
BASELINE = "aggregate"


def measure(conditions: Conditions, names: Sequence[str] = ()) -> Iterator[Measurement]:
    """Yield the step of every method, or of those named."""
    workloads = FAST_WORKLOADS if conditions.fast else WORKLOADS
    chosen = [name for name in names or METHODS if name != BASELINE and not METHODS[name].is_closed_form()]
    budget = conditions.budget.share(len(workloads) * len(chosen))
    for workload in workloads:
        for name in chosen:
            yield _step(workload, name, budget, conditions.device)


def _step(workload: Workload, name: str, budget: Budget, device: torch.device) -> Measurement:
    phases = build(workload, name, device).phases()
    parts = []
    for index in range(len(phases)):
        calls = {BASELINE: _steps(workload, BASELINE, 0, device), name: _steps(workload, name, index, device)}
        parts.append(compare(name, BASELINE, interleave(calls, budget.share(len(phases)), device), name, BASELINE))
    ratios = [
        sum(phase.share * ratio for phase, ratio in zip(phases, round_of, strict=True))
        for round_of in zip(*(part.ratios for part in parts), strict=False)
    ]
    baseline = f"a step of {BASELINE} ({workload})"
    return Measurement(f"training step of {name}", baseline, ratios, "; ".join(part.orientation for part in parts))


def _steps(workload: Workload, name: str, phase: int, device: torch.device) -> Callable[[], None]:
    """Return a step of the method in its phase ``phase``, the same batch in every step."""
    method = build(workload, name, device)
    step = MethodStep(workload, method, device, epochs=len(method.phases()))
    batch = workload.domain_batch(device)

    def learn() -> None:
        prepared = batch
        if method.needs == "features" and batch.images is not None:
            prepared = replace(batch, images=None, features=method.network.frozen_features(batch.images))
        step(prepared, epoch=phase)

    return learn
