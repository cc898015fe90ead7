"""Parts of training images: those of torchvision's transforms, from the originals, which are never enlarged first."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import RandomResizedCrop

from domain_masks.data import (
    LoaderSettings,
    Preprocessing,
    Subset,
    TrainingLoader,
    evaluation_batches,
    load_folder,
    view_batches,
)
from domain_masks.data.cropping import ResizedCrop, WholeImage, Window
from trees_of_images import clean


def boxes(crop, width: int, height: int, count: int = 4000) -> np.ndarray:
    numbers = torch.rand(count, crop.count, generator=torch.Generator().manual_seed(0)).tolist()
    return np.array([crop.box(row, width, height) for row in numbers])


def test_resized_crops_are_distributed_as_torchvisions() -> None:
    mine = boxes(ResizedCrop((0.8, 1.0)), 227, 227)
    torch.manual_seed(0)
    image = torch.empty(3, 227, 227)
    theirs = np.array([RandomResizedCrop.get_params(image, [0.8, 1.0], [3 / 4, 4 / 3]) for _ in range(4000)])
    theirs = np.stack([theirs[:, 1], theirs[:, 0], theirs[:, 1] + theirs[:, 3], theirs[:, 0] + theirs[:, 2]], 1)
    assert mine.min() >= 0
    assert mine.max() <= 227
    for name, values in {"left": 0, "top": 1, "right": 2, "bottom": 3}.items():
        quantiles = [np.quantile(found[:, values], [0.05, 0.25, 0.5, 0.75, 0.95]) for found in (mine, theirs)]
        np.testing.assert_allclose(*quantiles, atol=2.5, err_msg=name)
    areas = [(found[:, 2] - found[:, 0]) * (found[:, 3] - found[:, 1]) / 227**2 for found in (mine, theirs)]
    assert abs(areas[0].mean() - areas[1].mean()) < 0.005


@pytest.mark.parametrize(
    ("side", "at_least", "expected"),
    [(1024, 224, 896), (256, 224, 224), (227, 224, 224), (150, 224, 150), (150, 256, 131)],
)
def test_a_window_is_as_large_as_its_image_allows(side: int, at_least: int, expected: int) -> None:
    """At 256 and above the usual 7/8; below, no image is enlarged for the window, but as far as evaluation does."""
    found = boxes(Window(224, 256, at_least), side, side, 200)
    assert {tuple(box[2:] - box[:2]) for box in found} == {(expected, expected)}
    assert found.min() == 0
    assert found.max() == side


def test_the_whole_image_needs_no_numbers() -> None:
    assert (WholeImage().count, WholeImage().box([], 5, 3)) == (0, (0, 0, 5, 3))


def textured(root: Path, side: int, count: int = 12) -> Path:
    """Images with detail down to single pixels, as photographs and drawings have it."""
    random = np.random.default_rng(side)
    for number in range(count):
        coarse = Image.fromarray(random.integers(0, 256, (side // 2, side // 2, 3), dtype=np.uint8))
        path = root / "abc"[number % 3] / "xy"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse.resize((side, side), Image.Resampling.BICUBIC).save(path)
    return root


def energy(images: torch.Tensor) -> float:
    grey = images.float().mean(1)
    return float(grey.diff(dim=1).square().mean() + grey.diff(dim=2).square().mean())


@pytest.mark.parametrize("augmentation", ["pacs", "standard"])
@pytest.mark.parametrize("side", [150, 200, 227, 240])
@pytest.mark.parametrize("square", [True, False])
def test_training_images_are_as_sharp_as_evaluations(
    tmp_path: Path, augmentation: str, side: int, square: bool
) -> None:
    dataset = load_folder(textured(tmp_path / "images", side))
    preprocessing = Preprocessing(size=224, resize=224 if square else 256, square=square)
    subset = Subset(dataset, range(len(dataset)))
    (seen,) = evaluation_batches(subset, preprocessing, len(dataset))
    loader = TrainingLoader(subset, dataset.domains, preprocessing, LoaderSettings(len(dataset)), augmentation)
    (batch,) = loader
    assert batch.images.shape == (12, 3, 224, 224)
    assert energy(batch.images) > 0.85 * energy(seen.images)


def loader_of(root: Path, **settings: int) -> TrainingLoader:
    dataset = load_folder(root)
    preprocessing = Preprocessing(size=16, resize=16, square=False)
    chosen = LoaderSettings(10, **settings)
    return TrainingLoader(Subset(dataset, range(60)), dataset.domains, preprocessing, chosen, "pacs")


def test_parts_depend_on_neither_workers_nor_processes(tmp_path: Path) -> None:
    root = clean(tmp_path / "animals")
    alone = torch.stack([batch.images for batch in loader_of(root)])
    assert torch.equal(torch.stack([batch.images for batch in loader_of(root, workers=2)]), alone)
    halves = [loader_of(root, rank=rank, world_size=2) for rank in (0, 1)]
    together = torch.stack([torch.cat([part.images for part in parts]) for parts in zip(*halves, strict=True)])
    assert torch.equal(together, alone)
    next_epoch = loader_of(root)
    next_epoch.set_epoch(1)
    assert not torch.equal(torch.stack([batch.images for batch in next_epoch]), alone)


def test_views_of_an_image_differ_and_come_from_one_decoding(tmp_path: Path) -> None:
    dataset = load_folder(clean(tmp_path / "animals"))
    subset, preprocessing = Subset(dataset, [3, 1, 40]), Preprocessing(size=16, resize=16, square=True)
    ((views, randoms),) = view_batches(subset, preprocessing, "pacs", 4, (8, 0))
    assert views.shape == (3, 4, 3, 16, 16)
    assert len(randoms) == 4
    assert len({tuple(view.flatten().tolist()) for view in views[0]}) == 4
    ((same, _),) = view_batches(subset, preprocessing, "none", 2, (8, 0))
    (seen,) = evaluation_batches(subset, preprocessing, 8)
    assert torch.equal(same[:, 0], seen.images)
    assert torch.equal(same[:, 1], seen.images)


def test_the_released_codes_domainnet_is_squashed_first_and_enlarged_for_training() -> None:
    original = Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 500, 3), dtype=np.uint8))
    prepared = Preprocessing(size=224, resize=224, square=True, stored=224)
    stored = original.resize((224, 224), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(prepared.evaluation_pixels(original), np.asarray(stored))
    enlarged = np.asarray(stored.resize((256, 256), Image.Resampling.BILINEAR))
    window = Window(224, prepared.load_size, prepared.enlarged_to)
    (seen,) = prepared.parts(original, lambda width, height: [window.box([0.5, 0.99], width, height)])
    np.testing.assert_array_equal(seen, enlarged[32:, 16:240])
    assert Preprocessing.from_dict(prepared.to_dict()) == prepared
    assert replace(prepared, stored=None).evaluation_pixels(original).tolist() != np.asarray(stored).tolist()
