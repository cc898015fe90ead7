"""A mask site, and the operation of a mask on its activations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from domain_masks.errors import InputError


class Opening(Protocol):
    """An operation other than a mask on the activations at an opening of T."""

    def at(self, inputs: Tensor, axis: int) -> Any:
        """Return the input of the opened module for activations (N, ...) with K channels along ``axis``."""


def apply_mask(inputs: Tensor, mask: Tensor | Opening | None, axis: int) -> Any:
    """Multiply activations by one mask value per unit or channel.

    - ``inputs``: (N, ...) with K channels along ``axis``
    - ``mask``: (N, K), None for no mask, or another operation
    - returns: the shape of ``inputs``

    Raises InputError if ``inputs`` does not have this axis, or another number of channels along it.
    """
    if mask is None:
        return inputs
    if not isinstance(mask, Tensor):
        return mask.at(inputs, axis)
    if not torch.compiler.is_compiling() and not torch._C._get_tracing_state():
        _check(inputs, mask, axis)
    shape = [mask.shape[0]] + [1] * (inputs.dim() - 1)
    shape[axis] = mask.shape[1]
    return inputs * mask.reshape(shape).to(inputs.dtype)


def channel_means(activations: Tensor, axis: int) -> Tensor:
    """Return the mean of every channel over positions: (N, ...) with K channels along ``axis`` -> (N, K)."""
    positions = [other for other in range(1, activations.dim()) if other != axis % activations.dim()]
    return activations.mean(positions) if positions else activations


def _check(inputs: Tensor, mask: Tensor, axis: int) -> None:
    got = f"got activations of the shape {tuple(inputs.shape)}: give the Site the axis and the size that they have"
    if not -inputs.dim() <= axis < inputs.dim() or axis % inputs.dim() == 0:
        raise InputError(f"expected an axis of the activations at a mask site behind the batch's, axis {axis}, {got}")
    if inputs.shape[axis] != mask.shape[1]:
        raise InputError(f"expected {mask.shape[1]} channels on axis {axis} of the activations at a mask site, {got}")


@dataclass(frozen=True)
class Site:
    """A mask site: the module whose input activations are masked.

    - ``name``: the module's qualified name, such as ``layer4.1``
    - ``axis``: the channel axis of its input: 1 for NCHW, -1 for NHWC, tokens (N, T, C) and vectors
    - ``size``: K, the number of channels or units
    """

    name: str
    axis: int
    size: int
