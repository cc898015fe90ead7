"""Crops that are resized together are those that are resized one by one, to the byte."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from domain_masks.data import device_resizing
from domain_masks.data.device_resizing import CropPlan, Interpolation, crop_plan, resized_crops
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
    for weights in (plan.columns.weights, plan.lines.weights):
        assert torch.equal(weights.bfloat16().float(), weights), "factors that no product rounds"
    with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        together = torch.cat(
            [resized_crops(pixels, plan.rows(part)) for part in (slice(0, 3), slice(3, 4), slice(4, None))]
        )
    for image, box, found in zip(images, boxes, together, strict=True):
        alone = resized_crop(torch.from_numpy(image).permute(2, 0, 1), box, size, interpolation)
        assert torch.equal(found, alone), (image.shape, box)


@pytest.mark.parametrize(("length", "size"), [(6000, 32), (2000, 4), (2000, 1), (4100, 16)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_sums_of_many_pixels_are_exact(interpolation: Interpolation, length: int, size: int) -> None:
    plan = crop_plan(np.array([0]), np.array([length]), np.array([[0, 0, length, 1]]), size, interpolation)
    first, precision = plan.columns.first[0].tolist(), int(plan.columns.precision[0])
    high, low = plan.columns.weights[0].numpy().astype(np.int64)
    middle = size // 2
    own = (256 * high + low)[middle][: length - first[middle]]
    reached = slice(first[middle], first[middle] + len(own))
    for seed in range(20):
        # Bright rows of which the sum lies next to where it is rounded to another byte.
        row = np.random.default_rng(seed).integers(240, 256, length)
        for place in np.argsort(-own):
            over = (int(own @ row[reached]) + (1 << precision >> 1)) % (1 << precision)
            if 0 < own[place] <= over:
                row[first[middle] + place] -= min(over // own[place], 9)
        image = np.repeat(row.astype(np.uint8)[None, :, None], 3, 2)
        alone = resized_crop(torch.from_numpy(image).permute(2, 0, 1), (0, 0, length, 1), size, interpolation)
        assert torch.equal(resized_crops(torch.from_numpy(image.reshape(-1)), plan)[0], alone)


def test_large_crops_are_cut_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, 5 * 30 * 20 * 3, dtype=np.uint8))
    boxes = np.array([(0, 0, 20, 30), (3, 2, 20, 9), (0, 5, 7, 30), (1, 1, 2, 2), (0, 0, 19, 29)])
    plan = crop_plan(np.arange(5) * 1800, np.full(5, 20), boxes, 8, "bilinear")
    whole, sizes = resized_crops(pixels, plan), []
    measured = device_resizing._resized

    def noted(given: torch.Tensor, part: CropPlan) -> torch.Tensor:
        sizes.append(len(part.starts))
        return measured(given, part)

    monkeypatch.setattr(device_resizing, "_resized", noted)
    monkeypatch.setattr(device_resizing, "_AT_ONCE", 2 * 20 * 30)
    assert torch.equal(resized_crops(pixels, plan), whole)
    assert sizes == [2, 2, 1]
