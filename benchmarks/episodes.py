"""A training step of methods that differentiate through inner steps, against the same with PyTorch's own second derivatives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch

from domain_masks.methods import episodes
from steps import MethodStep, Workload, build, without
from timing import Budget, Conditions, Measurement, compare, interleave

NAMES = ("mldg", "masf", "metareg")
WORKLOAD = Workload("mobilenet_v2", 112, 48)
FAST_WORKLOAD = Workload("mobilenet_v2", 32, 12)


def measure(conditions: Conditions) -> Iterator[Measurement]:
    """Yield the step of each method; of MetaReg that of its first phase, which has inner steps."""
    budget = conditions.budget.share(len(NAMES))
    for name in NAMES:
        yield _step(FAST_WORKLOAD if conditions.fast else WORKLOAD, name, budget, conditions.device)


def _step(workload: Workload, name: str, budget: Budget, device: torch.device) -> Measurement:
    batch = workload.domain_batch(device)

    def step() -> Callable[[], None]:
        method = build(workload, name, device)
        return partial(MethodStep(workload, method, device, epochs=len(method.phases())), batch)

    calls = {"fast": step(), "pytorch": without(episodes, "FastSecondDerivatives", step())}
    return compare(
        f"training step of {name} ({workload})",
        "PyTorch's second derivatives",
        interleave(calls, budget, device),
        "fast",
        "pytorch",
    )
