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
_MOST_TAPS = 256
"""Products of two bytes that add up to less than 2^24, up to which single precision holds every whole number."""
_AT_ONCE = 2**23
"""Pixels of the crops that are cut at once, if one crop does not have more; each takes some 40 bytes meanwhile."""


@dataclass(frozen=True)
class AxisWeights:
    """The pixels that make up each of ``size`` pixels along one axis, of n crops, by their U different lengths.

    - ``own``: (n,) the row of each crop in the others
    - ``first``: (U, size) the first input pixel, in the crop
    - ``weights``: (U, 2, size, K), float: whole numbers divided by 256, and their remainders; 0 beyond the last input pixel
    - ``precision``, ``half``: (U,) the bits by which sums are shifted, and what rounds them
    - ``lengths``: (n,) of the crops, on the host
    """

    own: Tensor
    first: Tensor
    weights: Tensor
    precision: Tensor
    half: Tensor
    lengths: Int64Array

    def to(self, device: torch.device) -> AxisWeights:
        """Return the weights on a device."""
        there = {name: getattr(self, name).to(device) for name in ("own", "first", "weights", "precision", "half")}
        return replace(self, **there)

    def rows(self, part: slice) -> AxisWeights:
        """Return the weights of some of the crops; nothing is copied."""
        return replace(self, own=self.own[part], lengths=self.lengths[part])

    def filtered(self, values: Tensor) -> Tensor:
        """Return bytes (n, length, M), as floats, filtered along their second axis: (n, size, M), whole numbers, int32."""
        first, weights = self.first[self.own], self.weights[self.own]
        count, _, size, taps = weights.shape
        places = first[:, None, :, None] + torch.arange(taps, device=first.device)
        total: Tensor | None = None
        for start in range(0, taps, _MOST_TAPS):
            some = slice(start, start + _MOST_TAPS)
            # Wider than the values, so that no two taps of a pixel have the same place.
            matrix = weights.new_zeros(count, 2, size, values.shape[1] + taps)
            matrix.scatter_(3, places[..., some].expand(-1, 2, -1, -1), weights[..., some])
            matrix = matrix[..., : values.shape[1]].reshape(count, 2 * size, -1)
            # Factors of 8 bits: exact in single precision, also where factors are rounded to fewer (TF32, bf16).
            with torch.autocast(values.device.type, enabled=False):
                sums = torch.bmm(matrix, values)
            high, low = sums.to(torch.int32).view(count, 2, size, -1).unbind(1)
            part = torch.add(low, high, alpha=256)
            total = part if total is None else total.add_(part)
        if total is None:
            raise ValueError("expected weights")
        total = total.add_(self.half[self.own].view(-1, 1, 1))
        return (total >> self.precision[self.own].view(-1, 1, 1)).clamp_(0, 255)


def axis_weights(lengths: Int64Array, size: int, interpolation: Interpolation) -> AxisWeights:
    """Return the weights of crops (n,) of ``lengths`` pixels along an axis, resized to ``size``, with antialiasing."""
    half, kernel = _KERNELS[interpolation]
    different, own = np.unique(lengths, return_inverse=True)
    scale = different[:, None] / size
    reach = half * np.maximum(scale, 1.0)
    inverse = 1.0 / np.maximum(scale, 1.0)
    centre = scale * (np.arange(size) + 0.5)
    first = np.maximum((centre - reach + 0.5).astype(np.int64), 0)
    count = np.minimum((centre + reach + 0.5).astype(np.int64), different[:, None]) - first
    taps = np.ceil(reach[:, 0]).astype(np.int64) * 2 + 1
    count = np.clip(count, 0, taps[:, None])
    offsets = np.arange(int(taps.max(initial=1)))
    distances = (offsets + first[..., None] - centre[..., None] + 0.5) * inverse[..., None]
    weights = np.where(offsets < count[..., None], kernel(distances), 0.0)
    weights /= weights.sum(axis=-1, keepdims=True)
    largest = weights.max(axis=(1, 2), initial=0.0)
    precision = np.zeros(len(different), dtype=np.int32)
    for bits in range(1, _MOST_PRECISE + 1):
        # The first precision whose next one would need more than 16 bits.
        precision += (precision == bits - 1) & ((0.5 + largest * (1 << bits)).astype(np.int64) < 1 << _WEIGHT_BITS)
    scaled = weights * (1 << precision)[:, None, None]
    rounded = np.where(scaled < 0, scaled - 0.5, scaled + 0.5).astype(np.int32)
    parts = np.stack([rounded >> 8, rounded & 255], axis=1).astype(np.float32)
    return AxisWeights(
        torch.from_numpy(own),
        torch.from_numpy(first),
        torch.from_numpy(parts),
        torch.from_numpy(precision),
        torch.from_numpy(np.int32(1) << np.maximum(precision - 1, 0)),
        lengths,
    )


@dataclass(frozen=True)
class CropPlan:
    """Crops of images that lie one after the other in one tensor of bytes.

    - ``starts``, ``strides``: (n,) where the first pixel of each crop lies, and the bytes of a row of its image
    - ``columns``, ``lines``: the weights along width and height
    """

    starts: Tensor
    strides: Tensor
    columns: AxisWeights
    lines: AxisWeights

    def to(self, device: torch.device) -> CropPlan:
        """Return the plan on a device."""
        return CropPlan(self.starts.to(device), self.strides.to(device), self.columns.to(device), self.lines.to(device))

    def rows(self, part: slice) -> CropPlan:
        """Return the plan of some of the crops; nothing is copied."""
        return CropPlan(self.starts[part], self.strides[part], self.columns.rows(part), self.lines.rows(part))


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
    )


def resized_crops(pixels: Tensor, plan: CropPlan) -> Tensor:
    """Return the planned crops of ``pixels``, uint8 on the same device, as uint8 (n, 3, size, size)."""
    count = len(plan.starts)
    some = max(1, _AT_ONCE // int(plan.columns.lengths.max() * plan.lines.lengths.max()))
    parts = [_resized(pixels, plan.rows(slice(start, start + some))) for start in range(0, count, some)]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _resized(pixels: Tensor, plan: CropPlan) -> Tensor:
    count, device = len(plan.starts), pixels.device
    width, height = (int(axis.lengths.max()) for axis in (plan.columns, plan.lines))
    lines = plan.strides[:, None, None] * torch.arange(height, device=device)[:, None] + torch.arange(3, device=device)
    index = lines.view(count, 1, -1) + plan.starts[:, None, None] + 3 * torch.arange(width, device=device)[:, None]
    # What lies outside a crop is read, as far as there is any, and has no weight.
    taken = pixels[index.clamp_(max=pixels.numel() - 1)].float()
    narrow = plan.columns.filtered(taken).view(count, -1, height, 3)
    size = narrow.shape[1]
    small = plan.lines.filtered(narrow.transpose(1, 2).reshape(count, height, -1).float()).to(torch.uint8)
    return small.view(count, size, size, 3).permute(0, 3, 1, 2).contiguous()


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
