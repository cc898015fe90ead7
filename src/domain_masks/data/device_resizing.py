"""Crops of images of several sizes, resized together on any device, to the byte as :func:`resized_crop` does one by one.

PyTorch interpolates bytes in whole numbers: weights are rounded to 16 bits, in the precision that the largest of an axis
leaves room for; rows are filtered first, then columns, and both results are rounded to bytes. Sums of whole numbers have no
order, so that every device gives the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

FloatArray = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]
Interpolation = Literal["bilinear", "bicubic"]

_WEIGHT_BITS = 15
_MOST_PRECISE = 22
_CUBIC = -0.5


@dataclass(frozen=True)
class AxisWeights:
    """The pixels that make up each of ``size`` pixels along one axis, of n crops.

    - ``first``: (n, size) the first input pixel, in the crop
    - ``weights``: (n, size, K) whole numbers, 0 beyond the last input pixel
    - ``precision``: (n,) the bits by which sums are shifted
    """

    first: Tensor
    weights: Tensor
    precision: Tensor

    def to(self, device: torch.device) -> AxisWeights:
        """Return the weights on a device."""
        return AxisWeights(*(tensor.to(device) for tensor in (self.first, self.weights, self.precision)))

    def rows(self, part: slice) -> AxisWeights:
        """Return the weights of some of the crops."""
        return AxisWeights(self.first[part], self.weights[part], self.precision[part])


def axis_weights(lengths: Int64Array, size: int, interpolation: Interpolation) -> AxisWeights:
    """Return the weights of crops (n,) of ``lengths`` pixels along an axis, resized to ``size``, with antialiasing."""
    different, own = np.unique(lengths, return_inverse=True)
    table = _weights_of(different, size, interpolation)
    rows = torch.from_numpy(own)
    return AxisWeights(table.first[rows], table.weights[rows], table.precision[rows])


def _weights_of(lengths: Int64Array, size: int, interpolation: Interpolation) -> AxisWeights:
    half, kernel = _KERNELS[interpolation]
    scale = lengths[:, None] / size
    reach = half * np.maximum(scale, 1.0)
    inverse = 1.0 / np.maximum(scale, 1.0)
    centre = scale * (np.arange(size) + 0.5)
    first = np.maximum((centre - reach + 0.5).astype(np.int64), 0)
    count = np.minimum((centre + reach + 0.5).astype(np.int64), lengths[:, None]) - first
    taps = np.ceil(reach[:, 0]).astype(np.int64) * 2 + 1
    count = np.clip(count, 0, taps[:, None])
    offsets = np.arange(int(taps.max(initial=1)))
    distances = (offsets + first[..., None] - centre[..., None] + 0.5) * inverse[..., None]
    weights = np.where(offsets < count[..., None], kernel(distances), 0.0)
    weights /= weights.sum(axis=-1, keepdims=True)
    largest = weights.max(axis=(1, 2), initial=0.0)
    precision = np.zeros(len(lengths), dtype=np.int64)
    for bits in range(1, _MOST_PRECISE + 1):
        # The first precision whose next one would need more than 16 bits.
        precision += (precision == bits - 1) & ((0.5 + largest * (1 << bits)).astype(np.int64) < 1 << _WEIGHT_BITS)
    scaled = weights * (1 << precision)[:, None, None]
    rounded = np.where(scaled < 0, scaled - 0.5, scaled + 0.5).astype(np.int32)
    return AxisWeights(torch.from_numpy(first), torch.from_numpy(rounded), torch.from_numpy(precision.astype(np.int32)))


@dataclass(frozen=True)
class CropPlan:
    """Crops of images that lie one after the other in one tensor of bytes.

    - ``starts``, ``strides``: (n,) where the first pixel of each crop lies, and the bytes of a row of its image
    - ``columns``, ``lines``: the weights along width and height
    - ``height``: of the highest crop, in pixels
    """

    starts: Tensor
    strides: Tensor
    columns: AxisWeights
    lines: AxisWeights
    heights: Int64Array

    def to(self, device: torch.device) -> CropPlan:
        """Return the plan on a device."""
        return replace(
            self,
            starts=self.starts.to(device),
            strides=self.strides.to(device),
            columns=self.columns.to(device),
            lines=self.lines.to(device),
        )

    def rows(self, part: slice) -> CropPlan:
        """Return the plan of some of the crops; nothing is copied."""
        return CropPlan(
            self.starts[part], self.strides[part], self.columns.rows(part), self.lines.rows(part), self.heights[part]
        )


def crop_plan(
    starts: Int64Array, widths: Int64Array, boxes: Int64Array, size: int, interpolation: Interpolation
) -> CropPlan:
    """Return the plan of crops ``boxes`` (n, 4), left, top, right and bottom, of images (n,) with ``starts`` and ``widths``."""
    left, top, right, bottom = boxes.T
    return CropPlan(
        torch.from_numpy(starts + 3 * (top * widths + left)),
        torch.from_numpy(3 * widths),
        axis_weights(right - left, size, interpolation),
        axis_weights(bottom - top, size, interpolation),
        bottom - top,
    )


def resized_crops(pixels: Tensor, plan: CropPlan) -> Tensor:
    """Return the planned crops of ``pixels``, uint8 on the same device, as uint8 (n, 3, size, size)."""
    height = int(plan.heights.max())
    channels = torch.arange(3, device=pixels.device)
    # Rows below a crop are read, as far as there are any, and have no weight.
    lines = plan.starts[:, None] + plan.strides[:, None] * torch.arange(height, device=pixels.device)
    last = pixels.numel() - 1

    def along_width(tap: int) -> Tensor:
        offsets = 3 * (plan.columns.first + tap)
        index = lines[:, :, None, None] + offsets[:, None, :, None] + channels
        return pixels[index.clamp_(max=last)]

    narrow = _filtered(along_width, plan.columns, 1)

    def along_height(tap: int) -> Tensor:
        index = (plan.lines.first + tap).clamp(max=height - 1)
        return narrow.gather(1, index[:, :, None, None].expand(-1, -1, *narrow.shape[2:]))

    return _filtered(along_height, plan.lines, 2).permute(0, 3, 1, 2).contiguous()


def _filtered(taken: Callable[[int], Tensor], axis: AxisWeights, at: int) -> Tensor:
    """Return bytes filtered along an axis: ``taken`` gives the pixels of a tap; ``at`` is where the weights' size stands."""
    shape = (len(axis.first), 1, -1, 1) if at == 1 else (len(axis.first), -1, 1, 1)
    precision = axis.precision.view(-1, 1, 1, 1)
    total: Tensor | None = None
    for tap in range(axis.weights.shape[-1]):
        part = taken(tap).to(torch.int32) * axis.weights[..., tap].reshape(shape)
        total = part if total is None else total.add_(part)
    if total is None:
        raise ValueError("expected weights")
    half = torch.ones_like(precision) << (precision - 1).clamp(min=0)
    return ((total + half) >> precision).clamp_(0, 255).to(torch.uint8)


def _triangle(distance: FloatArray) -> FloatArray:
    return np.maximum(1.0 - np.abs(distance), 0.0)


def _cubic(distance: FloatArray) -> FloatArray:
    x = np.abs(distance)
    near = ((_CUBIC + 2) * x - (_CUBIC + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * _CUBIC
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


_KERNELS: dict[str, tuple[float, Callable[[FloatArray], FloatArray]]] = {
    "bilinear": (1.0, _triangle),
    "bicubic": (2.0, _cubic),
}
