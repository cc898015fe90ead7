"""Image preprocessing as a PyTorch module, so that an exported file can include it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from domain_masks.data import Preprocessing
from domain_masks.errors import InputError

LEVELS = {"bilinear": 1.001, "bicubic": 1.13}
"""Filter -> tolerated difference from Pillow, which rounds twice, in levels of 255; includes rounding of sums."""


def _bilinear(distance: Tensor) -> Tensor:
    return torch.relu(1 - distance)


def _bicubic(distance: Tensor) -> Tensor:
    """Return Keys' cubic with a = -0.5, as used by Pillow, for non-negative distances."""
    near = (1.5 * distance - 2.5) * distance * distance + 1
    far = ((2.5 - 0.5 * distance) * distance - 4) * distance + 2
    return torch.where(distance < 1, near, torch.where(distance < 2, far, torch.zeros_like(distance)))


_FILTERS = {"bilinear": _bilinear, "bicubic": _bicubic}


class PreprocessingInside(nn.Module):
    """Crop, resize and normalise decoded images of any height and width like :class:`Preprocessing`.

    Resizing uses Pillow's bilinear or bicubic filter, implemented as one matrix product per axis: basic operations that all
    runtimes compute alike and that support dynamic sizes. Pillow rounds to integer levels after each axis, in an order that
    depends on its version. This module does not round, so with the bilinear filter no pixel differs by more than one level of
    255 from any version. The bicubic filter, which has negative weights, amplifies the first rounding by at most a quarter
    (:data:`LEVELS`).
    """

    mean: Tensor
    std: Tensor

    def __init__(self, preprocessing: Preprocessing) -> None:
        super().__init__()
        if preprocessing.stored is not None:
            raise InputError(
                "the model's images are squashed to a stored size first (resizing: released-code), which --preprocessing does "
                "not support: export without it, and prepare images as `dmg predict` does"
            )
        self.size = preprocessing.size
        self.part = preprocessing.size / preprocessing.resize
        self.square = preprocessing.square
        self.filter = preprocessing.interpolation
        self.register_buffer("mean", torch.tensor(preprocessing.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(preprocessing.std).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return normalised floats (N, 3, size, size) of RGB images (N, 3, H, W), uint8."""
        return (self.pixels(images) / 255 - self.mean) / self.std

    def pixels(self, images: Tensor) -> Tensor:
        """Return levels from 0 to 255 (N, 3, size, size), floats, of RGB images (N, 3, H, W), uint8."""
        # Positions come from cumsum, not arange, so that sizes stay tensors in every runtime. The sum over the batch, rather
        # than its first image, also works for an empty batch.
        rows = torch.ones_like(images[:, 0, :, 0].sum(0), dtype=torch.float64).cumsum(0) - 1
        columns = torch.ones_like(images[:, 0, 0].sum(0), dtype=torch.float64).cumsum(0) - 1
        height, width = rows[-1] + 1, columns[-1] + 1
        if self.square:
            crop_height, crop_width = height * self.part, width * self.part
        else:
            crop_height = crop_width = torch.minimum(height, width) * self.part
        across = self._weights(columns, width, crop_width)
        down = self._weights(rows, height, crop_height)
        # Rows first, and clamped after each axis, like Pillow: a filter overshoots at black and white edges.
        resized = (images.to(torch.float32) @ across.transpose(0, 1)).clamp(0, 255)
        return (down @ resized).clamp(0, 255)

    def _weights(self, positions: Tensor, length: Tensor, part: Tensor) -> Tensor:
        """Return the weight of each of L input pixels in each output pixel, (size, L), float32.

        - ``positions``: (L,), 0 to L - 1
        - ``part``: length of the central crop that is resized to ``size`` pixels
        """
        scale = part / self.size
        places = torch.arange(self.size, dtype=torch.float64, device=positions.device)
        centres = (length - part) / 2 + (places + 0.5) * scale
        # Upsampling interpolates between neighbours; downsampling averages over the area of an output pixel.
        width = torch.clamp(scale, min=1.0)
        weights = _FILTERS[self.filter](torch.abs(positions + 0.5 - centres[:, None]) / width)
        return (weights / weights.sum(1, keepdim=True)).to(torch.float32)


def level_difference(preprocessing: Preprocessing, pixels: Tensor, expected: Tensor) -> float:
    """Return the largest difference from ``expected`` in levels of 255, for an image (1, 3, H, W), uint8.

    - ``expected``: uint8 (3, size, size), the output of :meth:`Preprocessing.load` for the same image
    """
    with torch.no_grad():
        got = PreprocessingInside(preprocessing).pixels(pixels)[0]
    return float((got - expected).abs().max())
