"""Colour jitter of a batch; every image has its own order of the four changes, as in torchvision."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from kornia.enhance import adjust_hue
from torch import Tensor, nn

from domain_masks.randomness import BatchRandomness

_GREY = (0.2989, 0.587, 0.114)


class ColorJitter(nn.Module):
    """Brightness, contrast, saturation and hue, with factors and an order drawn per image.

    Factors are uniform as in ``torchvision.transforms.ColorJitter``: in [max(0, 1 - x), 1 + x] for the first three, in
    [-hue, hue] turns for the last. A common order would correlate the changes of a batch's images.
    """

    def __init__(self, brightness: float, contrast: float, saturation: float, hue: float) -> None:
        super().__init__()
        strengths = (brightness, contrast, saturation)
        self.bounds = (*((max(0.0, 1 - strength), 1 + strength) for strength in strengths), (-hue, hue))

    def draw(self, random: BatchRandomness) -> tuple[Tensor, Tensor]:
        """Return factors (n, 4) and orders (n, 4): which change comes first, second, ...; keyed by (seed, step)."""
        numbers = random.uniform("augmentation/colours", 8)
        low, high = torch.tensor(self.bounds).unbind(1)
        return low + numbers[:, :4] * (high - low), numbers[:, 4:].argsort(1)

    def forward(self, images: Tensor, random: BatchRandomness) -> Tensor:
        """Return images (n, 3, H, W) in [0, 1] changed; ``random`` has a row per image."""
        factors, orders = self.draw(random)
        changed = images.clone()
        for place in range(4):
            for number, change in enumerate(_CHANGES):
                rows = (orders[:, place] == number).nonzero().flatten()
                if len(rows) == 0:
                    continue
                mine = rows.to(images.device)
                factor = factors[rows, number].to(images).view(-1, 1, 1, 1)
                changed[mine] = change(changed[mine], factor)
        return changed


def _grey(images: Tensor) -> Tensor:
    red, green, blue = images.unbind(1)
    return (_GREY[0] * red + _GREY[1] * green + _GREY[2] * blue).unsqueeze(1)


def _brightness(images: Tensor, factor: Tensor) -> Tensor:
    return (images * factor).clamp_(0, 1)


def _contrast(images: Tensor, factor: Tensor) -> Tensor:
    mean = _grey(images).mean((1, 2, 3), keepdim=True)
    return torch.lerp(mean, images, factor).clamp_(0, 1)


def _saturation(images: Tensor, factor: Tensor) -> Tensor:
    return torch.lerp(_grey(images), images, factor).clamp_(0, 1)


def _hue(images: Tensor, factor: Tensor) -> Tensor:
    changed: Tensor = adjust_hue(images, factor.flatten() * (2 * math.pi))
    return changed.clamp_(0, 1)


_CHANGES: tuple[Callable[[Tensor, Tensor], Tensor], ...] = (_brightness, _contrast, _saturation, _hue)
