"""Random crops of training images: drawn for the decoded original, which is resized once.

Enlarging an image first and cropping it afterwards would blur every training image, but none of evaluation's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from domain_masks.randomness import BatchRandomness

Box = tuple[int, int, int, int]
"""left, top, right, bottom, in pixels."""


class RandomCrop(Protocol):
    """A crop of an image, chosen by ``count`` uniform numbers in [0, 1) that are drawn before the image is read."""

    @property
    def count(self) -> int:
        """The random numbers that a crop needs."""
        ...

    def box(self, numbers: Sequence[float], width: int, height: int) -> Box:
        """Return the crop of an area of ``width`` x ``height`` pixels."""
        ...


@dataclass(frozen=True)
class ResizedCrop:
    """A random share of the area in a random aspect ratio: torchvision's ``RandomResizedCrop``.

    Up to ten pairs are drawn, as there; the whole area where none of them fits.
    """

    scale: tuple[float, float]
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    tries: int = 10

    @property
    def count(self) -> int:
        """Two numbers per try, and two for the position."""
        return 2 * self.tries + 2

    def box(self, numbers: Sequence[float], width: int, height: int) -> Box:
        """Return the crop; shares and ratios refer to the area after resizing to a square."""
        logarithms = math.log(self.ratio[0]), math.log(self.ratio[1])
        for number in range(self.tries):
            share = _between(self.scale, numbers[2 * number])
            ratio = math.exp(_between(logarithms, numbers[2 * number + 1]))
            wide, high = round(width * math.sqrt(share * ratio)), round(height * math.sqrt(share / ratio))
            if 0 < wide <= width and 0 < high <= height:
                return _placed(numbers[-2:], (wide, high), (width, height))
        return 0, 0, width, height


@dataclass(frozen=True)
class Window:
    """A square of ``size`` at a random position of the image resized to ``loaded``: torchvision's ``Resize``, ``RandomCrop``.

    An image smaller than ``loaded`` is enlarged to ``at_least`` at most, as evaluation does: the window is then a larger
    part of it, and the whole image where that is not larger than ``size``.
    """

    size: int
    loaded: int
    at_least: int

    @property
    def count(self) -> int:
        """Two numbers, for the position."""
        return 2

    def box(self, numbers: Sequence[float], width: int, height: int) -> Box:
        """Return the crop, in pixels of the original."""
        sides = [
            max(1, round(side * self.size / min(self.loaded, max(side, self.at_least)))) for side in (width, height)
        ]
        return _placed(numbers, (sides[0], sides[1]), (width, height))


@dataclass(frozen=True)
class WholeImage:
    """The whole image, without random numbers."""

    @property
    def count(self) -> int:
        """Zero."""
        return 0

    def box(self, numbers: Sequence[float], width: int, height: int) -> Box:
        """Return the whole area."""
        return 0, 0, width, height


def crop_numbers(crop: RandomCrop, random: BatchRandomness) -> Tensor:
    """Return the random numbers of every row of a batch, (count, numbers of the crop), keyed by (seed, step)."""
    import torch  # noqa: PLC0415 - the description of a crop needs no torch

    return torch.empty(random.count, 0) if crop.count == 0 else random.uniform("augmentation/crop", crop.count)


def _between(bounds: tuple[float, float], number: float) -> float:
    return bounds[0] + number * (bounds[1] - bounds[0])


def _placed(numbers: Sequence[float], part: tuple[int, int], whole: tuple[int, int]) -> Box:
    left, top = (
        min(int(number * (side - own + 1)), side - own) for number, own, side in zip(numbers, part, whole, strict=True)
    )
    return left, top, left + part[0], top + part[1]
