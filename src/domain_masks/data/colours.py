"""Colour jitter in which every image has its own order of the four changes, as in torchvision.

The changes work in place, on floats in [0, 1]: what they cost on CPUs is memory that has to be fetched, or zeroed by the
operating system, so that temporary planes are handed in and used again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from itertools import permutations

import torch
from torch import Tensor

from domain_masks.randomness import BatchRandomness

_GREY = (0.2989, 0.587, 0.114)
_PLANES = 6
_BEFORE_HUE = (0, 1, 0, 2, 0, 1, 0)
"""Brightness, contrast and saturation, so often that each of their orders is a part of it."""
_STEPS = (*_BEFORE_HUE, 3, *_BEFORE_HUE)


class ColorJitter:
    """Brightness, contrast, saturation and hue, each by a factor of its own and in an order of its own per image.

    Factors are uniform as in ``torchvision.transforms.ColorJitter``: in [max(0, 1 - x), 1 + x] for the first three, in
    [-hue, hue] turns for the last. One order for a whole batch would make its images alike in what they lose.
    """

    def __init__(self, brightness: float, contrast: float, saturation: float, hue: float) -> None:
        strengths = (brightness, contrast, saturation)
        self.bounds = (*((max(0.0, 1 - strength), 1 + strength) for strength in strengths), (-hue, hue))

    def draw(self, random: BatchRandomness) -> tuple[Tensor, Tensor]:
        """Return factors (n, 4) and orders (n, 4): which change comes first, second, ...; keyed by (seed, step)."""
        numbers = random.uniform("augmentation/colours", 8)
        low, high = torch.tensor(self.bounds).unbind(1)
        return low + numbers[:, :4] * (high - low), numbers[:, 4:].argsort(1)


def together(orders: Tensor) -> tuple[Tensor, list[tuple[int, int]]]:
    """Return how images whose changes have orders (n, 4) are changed together, in few steps.

    The steps make the changes of :data:`_STEPS`, of which every order is a part: an image takes those that belong to its own
    order, in which hue, the change of most operations, comes once. Returns the rows of all steps, (4n,), one step after the
    other, and (change, number of rows) of each.
    """
    index = (orders * orders.new_tensor([64, 16, 4, 1])).sum(1)
    steps = _steps_by_order()[index].flatten()
    rows = steps.argsort(stable=True) // len(_CHANGES)
    return rows, list(zip(_STEPS, steps.bincount(minlength=len(_STEPS)).tolist(), strict=True))


@cache
def _steps_by_order() -> Tensor:
    """Return the steps (256, 4) of each order, whose numbers are the digits of the row to the base of 4."""
    table = torch.zeros(len(_CHANGES) ** len(_CHANGES), len(_CHANGES), dtype=torch.int64)
    for order in permutations(range(len(_CHANGES))):
        row, steps = 0, [-1]
        for change in order:
            row = len(_CHANGES) * row + change
            steps.append(_STEPS.index(change, steps[-1] + 1))
        table[row] = torch.tensor(steps[1:])
    return table


def planes_for(images: Tensor) -> Tensor:
    """Return temporary memory for :func:`change_colours` of images (n, 3, H, W)."""
    return images.new_empty(_PLANES, len(images), 1, *images.shape[2:])


def change_colours(images: Tensor, factors: Tensor, order: Sequence[int], planes: Tensor) -> None:
    """Change images (n, 3, H, W) in [0, 1] in place.

    - ``factors``: (n, 4), of brightness, contrast, saturation and hue
    - ``order``: the numbers of the changes to make, from 0 to 3, the first one first; of all these images
    - ``planes``: see :func:`planes_for`
    """
    for number in order:
        _CHANGES[number](images, factors[:, number].view(-1, 1, 1, 1), planes)


def _brightness(images: Tensor, factor: Tensor, _planes: Tensor) -> None:
    images.mul_(factor).clamp_(0, 1)


def _contrast(images: Tensor, factor: Tensor, _planes: Tensor) -> None:
    red, green, blue = images.mean((2, 3), keepdim=True).chunk(3, dim=1)
    mean = _GREY[0] * red + _GREY[1] * green + _GREY[2] * blue
    images.mul_(factor).add_(mean * (1 - factor)).clamp_(0, 1)


def _saturation(images: Tensor, factor: Tensor, planes: Tensor) -> None:
    red, green, blue = images.chunk(3, dim=1)
    grey = torch.mul(red, _GREY[0], out=planes[0]).add_(green, alpha=_GREY[1]).add_(blue, alpha=_GREY[2])
    images.mul_(factor).add_(grey.mul_(1 - factor)).clamp_(0, 1)


def _hue(images: Tensor, factor: Tensor, planes: Tensor) -> None:
    """Turn the hue by ``factor`` turns and keep value and saturation, as a way through HSV does, without divisions.

    With chroma C = max - min, a hue h of six parts and circular distances, a channel whose own hue is k is min + C * clamp(2 -
    |h - k|, 0, 1). All hues are kept times C here, which is 0 where there is no hue.
    """
    red, green, blue = images.chunk(3, dim=1)
    largest, smallest, chroma, hue, distance, other = planes
    torch.maximum(torch.maximum(red, green, out=largest), blue, out=largest)
    torch.minimum(torch.minimum(red, green, out=smallest), blue, out=smallest)
    torch.sub(largest, smallest, out=chroma)
    torch.sub(red, green, out=hue).add_(chroma, alpha=4)
    for peak, above, below, own in ((green, blue, red, 2), (red, green, blue, 0)):
        torch.sub(above, below, out=distance).add_(chroma, alpha=own)
        # Selects by 0 or 1 in floats: exact, and several times as fast as torch.where.
        torch.lerp(hue, distance, torch.eq(largest, peak, out=other), out=hue)
    hue.addcmul_(chroma, 6 * factor)
    for own, channel in zip((0, 2, 4), (red, green, blue), strict=True):
        torch.sub(hue, chroma, alpha=own, out=distance).abs_()
        torch.sub(distance, chroma, alpha=6, out=other).abs_()
        torch.minimum(distance, other, out=distance)
        torch.add(largest, chroma, out=channel).sub_(distance)
        torch.clamp(channel, smallest, largest, out=channel)


_CHANGES: tuple[Callable[[Tensor, Tensor, Tensor], None], ...] = (_brightness, _contrast, _saturation, _hue)
