"""A mask site, and what a mask does there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from domain_masks.errors import InputError


class Opening(Protocol):
    """What is done with the activations at an opening of T where they are not masked."""

    def at(self, inputs: Tensor, axis: int) -> Any:
        """Return what the opened module is called with, of activations (N, ...) with K entries along ``axis``."""


def apply_mask(inputs: Tensor, mask: Tensor | Opening | None, axis: int) -> Any:
    """Multiply activations with one mask value per neuron or channel.

    - ``inputs``: (N, ...) with K entries along ``axis``
    - ``mask``: (N, K), None for no mask, or something else that is done with them
    - returns: the shape of ``inputs``

    Raises InputError where ``inputs`` has no such axis, or another number of entries along it.
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
    """Return the mean of every channel over its places: (N, ...) with K entries along ``axis`` -> (N, K)."""
    places = [place for place in range(1, activations.dim()) if place != axis % activations.dim()]
    return activations.mean(places) if places else activations


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
    - ``size``: K, the number of channels or neurons
    """

    name: str
    axis: int
    size: int
