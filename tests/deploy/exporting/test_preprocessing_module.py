"""Preprocessing as operations of a network gives Pillow's pixels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from domain_masks.data import Preprocessing
from domain_masks.deploy.exporting.preprocessing_module import LEVELS, PreprocessingInside
from domain_masks.networks import Interpolation

SIZES = [(64, 64), (100, 50), (31, 77), (227, 227), (500, 333), (1, 3), (73, 73)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(
    "preprocessing", [Preprocessing(64, 64, True), Preprocessing(64, 73, False), Preprocessing(32, 40, True)]
)
def test_preprocessing_inside_is_pillows(
    preprocessing: Preprocessing, interpolation: Interpolation, size: tuple[int, int]
) -> None:
    preprocessing = replace(preprocessing, interpolation=interpolation)
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    expected = preprocessing.load(Image.fromarray(pixels))
    inside = PreprocessingInside(preprocessing)
    images = torch.from_numpy(pixels.transpose(2, 0, 1).copy())[None]
    difference = (inside.pixels(images)[0] - expected).abs()
    assert difference.max() <= LEVELS[interpolation]
    assert difference.mean() <= 0.5
    torch.testing.assert_close(
        inside(images)[0], preprocessing.normalize(expected[None])[0], rtol=0, atol=1.14 / 255 / min(preprocessing.std)
    )
