"""The preprocessing of images as operations of a network, so that an exported file can hold it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from domain_masks.data import Preprocessing
from domain_masks.errors import InputError

LEVELS = {"bilinear": 1.001, "bicubic": 1.13}
"""Filter -> by how many of 255 levels pixels may differ from Pillow's, which rounds twice; and the last bits of a sum."""


def _bilinear(distance: Tensor) -> Tensor:
    return torch.relu(1 - distance)


def _bicubic(distance: Tensor) -> Tensor:
    """Return Keys' cubic with a = -0.5, which is Pillow's, for distances from 0."""
    near = (1.5 * distance - 2.5) * distance * distance + 1
    far = ((2.5 - 0.5 * distance) * distance - 4) * distance + 2
    return torch.where(distance < 1, near, torch.where(distance < 2, far, torch.zeros_like(distance)))


_FILTERS = {"bilinear": _bilinear, "bicubic": _bicubic}


class PreprocessingInside(nn.Module):
    """Cut, resize and normalise decoded images of any height and width as :class:`Preprocessing` does.

    Resizing is Pillow's bilinear or bicubic filter, written as one product with a matrix per axis: plain operations, which all
    runtimes compute alike, and which take sizes that are known only when they run. Pillow rounds to whole levels after each
    axis, and which axis comes first depends on its version; nothing is rounded here, so that with the bilinear filter no pixel
    differs by more than one level of 255 from any of them. The bicubic one, whose weights are negative at some distance, makes
    at most a quarter more of the first rounding (:data:`LEVELS`).
    """

    mean: Tensor
    std: Tensor

    def __init__(self, preprocessing: Preprocessing) -> None:
        super().__init__()
        if preprocessing.stored is not None:
            raise InputError(
                "the model's images are squashed to a stored size first (resizing: released-code), which preprocessing inside "
                "the file does not do: export without --preprocessing, and prepare images as `dmg predict` does"
            )
        self.size = preprocessing.size
        self.part = preprocessing.size / preprocessing.resize
        self.square = preprocessing.square
        self.filter = preprocessing.interpolation
        self.register_buffer("mean", torch.tensor(preprocessing.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(preprocessing.std).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return normalised floats (N, 3, size, size) of RGB bytes (N, 3, H, W), uint8."""
        return (self.pixels(images) / 255 - self.mean) / self.std

    def pixels(self, images: Tensor) -> Tensor:
        """Return levels from 0 to 255 (N, 3, size, size), floats, of RGB bytes (N, 3, H, W)."""
        # Counted by a sum, not by arange: the sizes stay tensors, and nothing depends on how a runtime handles numbers.
        # Summed over the batch, of which there may be nothing: its first image need not be there.
        rows = torch.ones_like(images[:, 0, :, 0].sum(0), dtype=torch.float64).cumsum(0) - 1
        columns = torch.ones_like(images[:, 0, 0].sum(0), dtype=torch.float64).cumsum(0) - 1
        height, width = rows[-1] + 1, columns[-1] + 1
        if self.square:
            high, wide = height * self.part, width * self.part
        else:
            high = wide = torch.minimum(height, width) * self.part
        across = self._weights(columns, width, wide)
        down = self._weights(rows, height, high)
        # Along a row first, as Pillow does, which cuts off what a filter makes of black and white edges after each axis.
        resized = (images.to(torch.float32) @ across.transpose(0, 1)).clamp(0, 255)
        return (down @ resized).clamp(0, 255)

    def _weights(self, positions: Tensor, length: Tensor, part: Tensor) -> Tensor:
        """Return how much of each of L input pixels goes into each output pixel, (size, L), float32.

        - ``positions``: (L,), 0 to L - 1
        - ``part``: how many input pixels in the middle are resized to ``size`` pixels
        """
        scale = part / self.size
        places = torch.arange(self.size, dtype=torch.float64, device=positions.device)
        centres = (length - part) / 2 + (places + 0.5) * scale
        # Enlarging interpolates between neighbours; shrinking takes in all that an output pixel covers.
        width = torch.clamp(scale, min=1.0)
        weights = _FILTERS[self.filter](torch.abs(positions + 0.5 - centres[:, None]) / width)
        return (weights / weights.sum(1, keepdim=True)).to(torch.float32)


def level_difference(preprocessing: Preprocessing, pixels: Tensor, expected: Tensor) -> float:
    """Return by how many levels of 255 images (1, 3, H, W), uint8, come out otherwise than ``expected``, at most.

    - ``expected``: uint8 (3, size, size), what :meth:`Preprocessing.load` makes of the same image
    """
    with torch.no_grad():
        got = PreprocessingInside(preprocessing).pixels(pixels)[0]
    return float((got - expected).abs().max())
