"""Crops that are resized together are those that are resized one by one, to the byte."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from domain_masks.data.device_resizing import Interpolation, crop_plan, resized_crops
from domain_masks.data.resizing import resized_crop


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [1, 7, 32, 112])
def test_they_are_those_of_the_interpolation_one_by_one(interpolation: str, size: int) -> None:
    random = np.random.default_rng(size)
    shapes = [(int(height), int(width)) for height, width in random.integers(1, 260, (40, 2))] + [
        (size, size),
        (300, 2),
    ]
    images = [random.integers(0, 256, (*shape, 3), dtype=np.uint8) for shape in shapes]
    images[0][:], images[1][:] = 255, 0
    images[2] = (np.indices(images[2].shape).sum(0) % 2 * 255).astype(np.uint8)
    boxes = []
    for height, width in shapes:
        left, top = int(random.integers(0, width)), int(random.integers(0, height))
        boxes.append((left, top, int(random.integers(left + 1, width + 1)), int(random.integers(top + 1, height + 1))))
    boxes[-2:] = [(0, 0, size, size), (0, 0, 2, 300)]
    starts = np.cumsum([0, *(image.size for image in images)])[:-1]
    pixels = torch.from_numpy(np.concatenate([image.reshape(-1) for image in images]))
    widths = np.array([width for _, width in shapes])
    plan = crop_plan(starts, widths, np.array(boxes), size, interpolation)
    together = resized_crops(pixels, plan)
    assert together.shape == (len(images), 3, size, size)
    for number, (image, box) in enumerate(zip(images, boxes, strict=True)):
        alone = resized_crop(torch.from_numpy(image).permute(2, 0, 1), box, size, interpolation)
        assert torch.equal(together[number], alone), (shapes[number], box)
    some = slice(5, 11)
    assert torch.equal(resized_crops(pixels, plan.rows(some)), together[some])


@pytest.fixture(params=["highest", "medium"])
def precision(request: pytest.FixtureRequest) -> Iterator[None]:
    """Products of single precision, and those whose factors may be rounded."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(request.param)
    yield
    torch.set_float32_matmul_precision(before)


@pytest.mark.usefixtures("precision")
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [1, 7, 32])
@pytest.mark.parametrize("mixed", [False, True])
def test_they_are_exact_where_products_are_rounded(interpolation: Interpolation, size: int, mixed: bool) -> None:
    random = np.random.default_rng(0)
    images, boxes = [], []
    for width, height in [(1, 1), (5, 40), (64, 3), (33, 32), (700, 9), (12, 900), (250, 400)]:
        # Black and white alone: the largest sums.
        images.append(random.choice([0, 255], (height, width, 3)).astype(np.uint8))
        left, top = random.integers(0, width), random.integers(0, height)
        boxes.append((left, top, random.integers(left, width) + 1, random.integers(top, height) + 1))
    pixels = torch.from_numpy(np.concatenate([image.reshape(-1) for image in images]))
    starts = np.cumsum([0, *(image.size for image in images[:-1])])
    widths = np.array([image.shape[1] for image in images])
    plan = crop_plan(starts, widths, np.array(boxes), size, interpolation)
    with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        together = torch.cat(
            [resized_crops(pixels, plan.rows(part)) for part in (slice(0, 3), slice(3, 4), slice(4, None))]
        )
    for image, box, found in zip(images, boxes, together, strict=True):
        alone = resized_crop(torch.from_numpy(image).permute(2, 0, 1), box, size, interpolation)
        assert torch.equal(found, alone), (image.shape, box)
