"""Checks that all processes of a run were started alike: with the same settings, images and initial weights."""

from __future__ import annotations

from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from domain_masks.errors import DomainMasksError, InputError, shown
from domain_masks.methods import Method
from domain_masks.records.config import NOT_COMPUTED, RunConfig
from domain_masks.training.waiting import raise_together

_PLACES = ("weights", "init_from")
"""Settings that may be other paths on another node; what lies there is compared."""
_CLOSE = 1e-3


def require_same_settings(fabric: Fabric, config: RunConfig) -> None:
    """Raise InputError on all processes where one was started with settings that compute something else."""
    named = {name: value for name, value in config.model_dump(mode="json").items() if name not in NOT_COMPUTED}
    _require_same(fabric, {name: value for name, value in named.items() if name not in _PLACES}, "was started with")


def require_same_content(fabric: Fabric, content: str) -> None:
    """Raise InputError on all processes where one has images of another content, other names or labels."""
    _require_same(fabric, {"the fingerprint of its images": content}, "has other images:")


def share_weights(fabric: Fabric, method: Method) -> None:
    """Give all processes the first one's weights, which may differ from theirs by rounding alone.

    Raises InputError on all processes where a weight differs by more, as with other files of weights.
    """
    if fabric.world_size == 1:
        return
    here = {**dict(method.named_parameters()), **dict(method.named_buffers())}
    first = fabric.broadcast({name: value.detach().cpu() for name, value in here.items()})
    problem: DomainMasksError | None = None
    if other := [name for name, value in here.items() if name not in first or not _is_close(first[name], value)]:
        problem = InputError(
            f"process {fabric.global_rank + 1} of the run starts from other weights than the first one ({other[0]}): expected "
            "the same files of --weights and --init_from, and the same versions of packages, on every node"
        )
    raise_together(problem)
    with torch.no_grad():
        for name, value in here.items():
            value.copy_(first[name])


def _is_close(first: Tensor, value: Tensor) -> bool:
    here = value.detach().cpu()
    if first.shape != here.shape or not first.is_floating_point():
        return first.shape == here.shape and torch.equal(first, here)
    return torch.allclose(first, here, rtol=_CLOSE, atol=_CLOSE, equal_nan=True)


def _require_same(fabric: Fabric, values: dict[str, Any], says: str) -> None:
    if fabric.world_size == 1:
        return
    expected = fabric.broadcast(values)
    other = [
        f"{name} {shown(values.get(name))}, the first one {shown(expected.get(name))}"
        for name in {**expected, **values}
        if expected.get(name) != values.get(name)
    ]
    problem = None
    if other:
        problem = InputError(
            f"process {fabric.global_rank + 1} of the run {says} {'; '.join(other)}. Start all of them with the same command, "
            "on the same files"
        )
    raise_together(problem)
