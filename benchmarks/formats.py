"""A training step of DMG in bf16 and with the channels last, relative to the same step in single precision, channels first.

Then the step in bf16, channels last, relative to the same with PyTorch's gradients of depthwise convolutions with strides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch

from domain_masks.training import number_formats
from steps import MethodStep, Workload, build, without
from timing import Budget, Conditions, Measurement, compare, interleave

WORKLOADS = (
    *(Workload("resnet18", pixels, batch) for pixels, batch in ((64, 32), (112, 32), (224, 8))),
    *(Workload("mobilenet_v2", 112, 32), Workload("alexnet", 224, 16), Workload("vit_b_32", 224, 8)),
)
FAST_WORKLOADS = (Workload("small", 32, 12),)
STRIDED = Workload("mobilenet_v2", 112, 64)
FAST_STRIDED = Workload("mobilenet_v2", 32, 12)
FORMATS = {"channels last": ("32", True), "bf16": ("bf16", False), "bf16, channels last": ("bf16", True)}
"""Name -> precision and memory layout."""


def measure(conditions: Conditions) -> Iterator[Measurement]:
    """Yield the step in every format, for every network, and on a CPU the one with the fast gradients of strides."""
    workloads = FAST_WORKLOADS if conditions.fast else WORKLOADS
    budget = conditions.budget.share(len(workloads) + 1)
    for workload in workloads:
        yield from _formats(workload, budget, conditions.device)
    if conditions.device.type == "cpu":
        yield _strided(FAST_STRIDED if conditions.fast else STRIDED, budget, conditions.device)


def _formats(workload: Workload, budget: Budget, device: torch.device) -> Iterator[Measurement]:
    calls = {name: _step(workload, device, *values) for name, values in {"plain": ("32", False), **FORMATS}.items()}
    seconds = interleave(calls, budget, device)
    for name in FORMATS:
        yield compare(f"training step, {name}", f"float32, channels first ({workload})", seconds, name, "plain")


def _strided(workload: Workload, budget: Budget, device: torch.device) -> Measurement:
    steps = [_step(workload, device, "bf16", True) for _ in range(2)]
    calls = {"fast": steps[0], "pytorch": without(number_formats, "FastStridedGradients", steps[1])}
    return compare(
        f"training step in bf16 ({workload})",
        "PyTorch's gradients of depthwise convolutions with strides",
        interleave(calls, budget, device),
        "fast",
        "pytorch",
    )


def _step(workload: Workload, device: torch.device, precision: str, channels_last: bool) -> Callable[[], None]:
    layout = torch.channels_last if channels_last else torch.contiguous_format
    method = build(workload, "dmg", device).to(memory_format=layout)
    step = MethodStep(workload, method, device, config=workload.config(device, precision=precision))
    batch = workload.domain_batch(device)
    if batch.images is None:
        raise ValueError("expected a batch with images")
    batch = replace(batch, images=batch.images.contiguous(memory_format=layout))
    return lambda: step(batch)
