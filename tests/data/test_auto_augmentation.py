"""Torchvision's policies and random erasing with a key per image: the same for any number of workers, processes and caches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from domain_masks.data import (
    BatchAugmentation,
    DeviceLoader,
    ImageDataset,
    LoaderSettings,
    Preprocessing,
    Subset,
    TrainingLoader,
    augmentation_named,
    images_on_device,
    load_folder,
    view_batches,
    with_stored_images,
)
from domain_masks.data.auto_augmentation import POLICIES, ImagePolicy, erase
from domain_masks.errors import InputError
from domain_masks.progress import ConsoleReporter
from domain_masks.randomness import BatchRandomness

PREPROCESSING = Preprocessing(size=24, resize=24, square=True)
QUIET = ConsoleReporter(quiet=True)


def randomness(count: int, step: int = 0, first: int = 0, total: int | None = None) -> BatchRandomness:
    return BatchRandomness(seed=3, step=step, first=first, count=count, total=total or count)


@pytest.fixture
def files(tmp_path: Path) -> ImageDataset:
    random = np.random.default_rng(0)
    for domain in "ab":
        for number in range(6):
            path = tmp_path / "images" / domain / "class" / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(random.integers(0, 255, (26, 30, 3), dtype=np.uint8)).save(path)
    return load_folder(tmp_path / "images")


def loaded(dataset: ImageDataset, policy: str, **settings: int) -> dict[int, Tensor]:
    subset = Subset(dataset, range(len(dataset)))
    loader = TrainingLoader(
        subset, "ab", PREPROCESSING, LoaderSettings(5, **settings), augmentation_named("pacs", policy)
    )
    loader.set_epoch(1)
    return {int(i): image for batch in loader for i, image in zip(batch.ids, batch.images, strict=True)}


@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_is_torchvisions_and_leaves_torchs_generator(name: str) -> None:
    image = torch.randint(0, 255, (3, 24, 24), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    policy, before = ImagePolicy(name), torch.get_rng_state()
    changed = [policy(image, key) for key in range(20)]
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(policy(image, key), changed[key]) for key in (7, 3))
    assert len({tuple(one.flatten().tolist()) for one in changed}) > 10
    kind = {"randaugment": v2.RandAugment, "trivialaugment": v2.TrivialAugmentWide}[name]
    with torch.random.fork_rng(devices=[]):
        for key in range(20):
            torch.manual_seed(key)
            assert torch.equal(kind(interpolation=v2.InterpolationMode.BILINEAR)(image), changed[key])


@pytest.mark.parametrize("name", POLICIES)
def test_an_image_is_changed_alike_for_any_workers_processes_and_cache(
    name: str, files: ImageDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DMG_CACHE", str(tmp_path / "cache"))
    expected = loaded(files, name)
    plain = loaded(files, "none")
    assert any(not torch.equal(expected[i], plain[i]) for i in expected)
    kept = with_stored_images(files, PREPROCESSING, "disk", 0, QUIET)
    others = [loaded(files, name, workers=2), loaded(kept, name)]
    others.append({k: v for rank in (0, 1) for k, v in loaded(files, name, rank=rank, world_size=2).items()})
    images = images_on_device(kept, PREPROCESSING, torch.device("cpu"), 0, QUIET)
    assert images is not None
    loader = DeviceLoader(images, Subset(kept, range(12)), "ab", LoaderSettings(5), augmentation_named("pacs", name))
    loader.set_epoch(1)
    others.append({int(i): image for batch in loader for i, image in zip(batch.ids, batch.images, strict=True)})
    for other in others:
        assert other.keys() == expected.keys()
        assert all(torch.equal(other[i], expected[i]) for i in expected)


def test_a_policy_without_crops_and_on_views(files: ImageDataset) -> None:
    subset = Subset(files, range(12))
    loader = TrainingLoader(subset, "ab", PREPROCESSING, LoaderSettings(12), augmentation_named("none", "randaugment"))
    (batch,) = loader
    (plain,) = TrainingLoader(subset, "ab", PREPROCESSING, LoaderSettings(12))
    assert batch.images is not None
    assert not torch.equal(batch.images, plain.images)
    ((views, _),) = view_batches(subset, PREPROCESSING, augmentation_named("none", "trivialaugment"), 3, (12, 0))
    assert views.shape == (12, 3, 3, 24, 24)
    assert all(len({tuple(view.flatten().tolist()) for view in image}) > 1 for image in views)


def test_erasing_is_of_the_mean_colour_in_a_share_of_the_images() -> None:
    images = torch.full((200, 3, 24, 24), 200, dtype=torch.uint8)
    augment = BatchAugmentation(augmentation_named("none", erasing=0.25), PREPROCESSING)
    erased = augment(images, randomness(200))
    plain = BatchAugmentation("none", PREPROCESSING)(images, randomness(200))
    changed = (erased != plain).flatten(1).any(1)
    assert 30 <= changed.sum() <= 70
    assert (erased[erased != plain] == 0).all()
    share = (erased != plain)[changed].float().mean((1, 2, 3))
    assert 0.01 < share.min() < share.max() < 0.4
    parts = [augment(images[:80], randomness(80, total=200)), augment(images[80:], randomness(120, 0, 80, 200))]
    assert torch.equal(torch.cat(parts), erased)
    assert not torch.equal(augment(images, randomness(200, step=1)), erased)
    everything = plain.clone()
    erase(everything, 1.0, randomness(200))
    assert (everything != plain).flatten(1).any(1).all()


def test_an_unknown_policy_is_named() -> None:
    with pytest.raises(InputError, match="unknown policy of augmentation 'rand'"):
        ImagePolicy("rand")
