"""Images on a device give the batches that files give, and none is copied there within an epoch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from assorted_images import odd_images
from domain_masks.batch import DomainBatch
from domain_masks.data import (
    DeviceImages,
    DeviceLoader,
    ImageDataset,
    LoaderSettings,
    Preprocessing,
    Subset,
    TrainingLoader,
    device_batches,
    evaluation_batches,
    examine,
    images_on_device,
    load_folder,
    with_stored_images,
)
from domain_masks.data import device_images as device_images_module
from domain_masks.errors import InputError
from domain_masks.progress import ConsoleReporter

QUIET = ConsoleReporter(quiet=True)
CPU = torch.device("cpu")
PREPARED = Preprocessing(size=32, resize=32, square=True)


@pytest.fixture
def files(tmp_path: Path) -> ImageDataset:
    return examine(load_folder(odd_images(tmp_path / "images")), 0, QUIET).dataset


def resident(files: ImageDataset, prepared: Preprocessing = PREPARED) -> DeviceImages:
    images = images_on_device(with_stored_images(files, prepared, "disk", 0, QUIET), prepared, CPU, 0, QUIET)
    assert images is not None
    return images


def assert_same(batches: Iterator[DomainBatch], others: Iterator[DomainBatch]) -> None:
    for batch, other in zip(batches, others, strict=True):
        assert batch.random == other.random
        if batch.random is not None:
            assert torch.equal(batch.host.domains, other.host.domains)
            assert torch.equal(batch.host.labels, other.host.labels)
        for name in ("images", "labels", "domains", "ids"):
            one, two = getattr(batch, name), getattr(other, name)
            assert (one is None) == (two is None)
            assert one is None or torch.equal(one, two), name


@pytest.fixture(params=["one by one", "together"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How images are cropped: as on CPUs, and as on all other devices."""
    if request.param == "together":
        monkeypatch.setattr(device_images_module, "_ONE_BY_ONE", ())
    return str(request.param)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("augmentation", ["pacs", "standard", "digits", "none"])
@pytest.mark.parametrize(
    "prepared",
    [
        PREPARED,
        Preprocessing(size=40, resize=46, square=False, interpolation="bicubic"),
        Preprocessing(size=24, resize=24, square=True, stored=24),
    ],
)
def test_training_batches_are_those_from_files(files: ImageDataset, augmentation: str, prepared: Preprocessing) -> None:
    subset = Subset(files, list(range(1, len(files), 2)))
    images = resident(files, prepared)
    for rank in (0, 1):
        settings = LoaderSettings(8, seed=3, rank=rank, world_size=2)
        plain = TrainingLoader(subset, "ab", prepared, settings, augmentation)
        here = DeviceLoader(images, subset, "ab", settings, augmentation)
        assert len(here) == len(plain)
        for loader in (plain, here):
            loader.set_epoch(2)
        assert_same(iter(here), iter(plain))
        for loader in (plain, here):
            loader.set_start(1)
        assert_same(iter(here), iter(plain))
        here.set_start(len(here))
        assert list(here) == []


def test_evaluation_batches_are_those_from_files(files: ImageDataset) -> None:
    images, subset = resident(files), Subset(files, [7, 3, 11, 40 % len(files), 0])
    for sources, with_labels in (("ab", True), (None, False)):
        expected = evaluation_batches(subset, PREPARED, 2, 0, sources, with_labels)
        assert_same(device_batches(images, subset, 2, sources, with_labels), expected)


@pytest.mark.usefixtures("way")
def test_an_epoch_takes_everything_from_the_device(files: ImageDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    images = resident(files)
    loader = DeviceLoader(images, Subset(files, range(len(files))), "ab", LoaderSettings(8), "pacs")
    moved: list[torch.Size] = []
    to = torch.Tensor.to

    def noted(tensor: torch.Tensor, *arguments: object, **options: object) -> torch.Tensor:
        if any(isinstance(argument, torch.device) for argument in arguments):
            moved.append(tensor.shape)
        return to(tensor, *arguments, **options)

    batches = iter(loader)
    first = next(batches)
    monkeypatch.setattr(torch.Tensor, "to", noted)
    rest = list(batches)
    assert moved == [], "after the first batch"
    assert len(rest) == len(loader) - 1
    assert first.images is not None
    stores = {images.pixels.untyped_storage().data_ptr(), images.seen.untyped_storage().data_ptr()}
    assert first.images.untyped_storage().data_ptr() not in stores, "what a method may change is a copy"


def test_images_that_are_larger_than_the_memory_of_the_device_are_refused(
    files: ImageDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = with_stored_images(files, PREPARED, "disk", 0, QUIET)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (1024, 2048))
    with pytest.raises(InputError, match=r"need 3\d\d KiB on cuda:0, 1 KiB are free: use --cache disk"):
        images_on_device(stored, PREPARED, torch.device("cuda:0"), 0, QUIET)
    assert images_on_device(replace(files), PREPARED, CPU, 0, QUIET) is None, "which are not in the cache"
