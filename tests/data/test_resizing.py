"""Resized crops, against Pillow's and torchvision's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.functional import InterpolationMode
from torchvision.transforms.functional import resized_crop as torchvisions

from domain_masks.data.cropping import Box
from domain_masks.data.resizing import resized_crop


def textured() -> Image.Image:
    random = np.random.default_rng(0)
    return Image.fromarray(random.integers(0, 256, (40, 60, 3), dtype=np.uint8)).resize(
        (120, 90), Image.Resampling.BICUBIC
    )


@pytest.mark.parametrize("box", [(0, 0, 120, 90), (3, 5, 100, 77), (119, 0, 120, 1), (10, 20, 42, 52)])
@pytest.mark.parametrize("size", [16, 32, 150])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_crops_are_torchvisions_but_for_rounding(box: Box, size: int, interpolation: str) -> None:
    image = textured()
    left, top, right, bottom = box
    mode = InterpolationMode(interpolation)
    expected = torchvisions(image, top, left, bottom - top, right - left, [size, size], mode)
    found = resized_crop(torch.from_numpy(np.array(image)).permute(2, 0, 1), box, size, interpolation)
    assert found.shape == (3, size, size)
    assert found.dtype == torch.uint8
    difference = found.permute(1, 2, 0).int() - torch.from_numpy(np.array(expected)).int()
    assert difference.abs().max() <= (1 if interpolation == "bilinear" else 2)
    assert difference.float().mean().abs() < 0.05
