"""Crops of decoded images, resized to the square that a network sees."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from torch.nn.functional import interpolate

if TYPE_CHECKING:
    from torch import Tensor

    from domain_masks.data.cropping import Box


def resized_crop(image: Tensor, box: Box, size: int, interpolation: Literal["bilinear", "bicubic"]) -> Tensor:
    """Crop an image, uint8 (3, H, W) on the CPU, and resize the crop to (3, size, size), with antialiasing.

    As torchvision's ``resized_crop``: pixels beyond the crop do not count. Fastest for images whose channels lie beside each
    other in memory, as decoders write them.
    """
    left, top, right, bottom = box
    crop = image[None, :, top:bottom, left:right]
    if crop.shape[2:] == (size, size):
        return crop[0]
    # Bytes are interpolated in whole numbers, several times as fast as Pillow does it, and rounded as there.
    return interpolate(crop, (size, size), mode=interpolation, antialias=True)[0]
