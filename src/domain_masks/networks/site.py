"""A mask site, and what a mask does there."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


def apply_mask(inputs: Tensor, mask: Tensor | None, axis: int) -> Tensor:
    """Multiply activations with one mask value per neuron or channel.

    - ``inputs``: (N, ...) with K entries along ``axis``
    - ``mask``: (N, K), or None for no mask
    - returns: the shape of ``inputs``
    """
    if mask is None:
        return inputs
    shape = [mask.shape[0]] + [1] * (inputs.dim() - 1)
    shape[axis] = mask.shape[1]
    return inputs * mask.reshape(shape).to(inputs.dtype)


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
