"""Images in memory are there once for all processes, and gone with the last of them, however it ends."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import torch

from domain_masks.data import ImageDataset, Preprocessing, Subset, evaluation_batches, examine, load_folder
from domain_masks.data import image_cache as image_cache_module
from domain_masks.data import image_memory as image_memory_module
from domain_masks.data.image_cache import with_stored_images
from domain_masks.data.image_memory import images_stay_in_memory, memory_folder
from domain_masks.data.stored_images import StoredOpener
from domain_masks.errors import InputError
from domain_masks.progress import ConsoleReporter
from trees_of_images import clean

QUIET = ConsoleReporter(quiet=True)
PREPARED = Preprocessing(size=16, resize=16, square=True)


@pytest.fixture(autouse=True)
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the disk that stands for the file system in memory."""
    root = tmp_path / "shm"
    root.mkdir()
    monkeypatch.setattr(image_memory_module, "SHARED_MEMORY", root)
    monkeypatch.setattr(image_cache_module, "SHARED_MEMORY", root)
    return root


@pytest.fixture
def files(tmp_path: Path) -> ImageDataset:
    return examine(load_folder(clean(tmp_path / "animals")), 0, QUIET).dataset


def kept(dataset: ImageDataset) -> ImageDataset:
    return with_stored_images(dataset, PREPARED, "memory", 0, QUIET)


def folder_of(dataset: ImageDataset) -> Path:
    assert isinstance(dataset.open_image, StoredOpener)
    return dataset.open_image.stored.folder


def folders() -> list[Path]:
    return [path for path in memory_folder().iterdir() if path.is_dir()]


def seen(dataset: ImageDataset, workers: int = 0) -> torch.Tensor:
    subset = Subset(dataset, range(len(dataset)))
    return torch.cat([batch.images for batch in evaluation_batches(subset, PREPARED, 8, workers)])


class Other:
    """Another process, which keeps the images of a dataset in memory until it is let go."""

    def __init__(self, files: ImageDataset) -> None:
        ready, self._let_go = os.pipe(), os.pipe()
        self.process = os.fork()
        if self.process == 0:
            try:
                os.close(self._let_go[1])
                images = kept(files)
                os.write(ready[1], b"1")
                os.read(self._let_go[0], 1)
                del images
            finally:
                os._exit(0)
        os.close(ready[1])
        assert os.read(ready[0], 1) == b"1"

    def end(self) -> None:
        os.close(self._let_go[1])
        os.waitpid(self.process, 0)

    def kill(self) -> None:
        os.kill(self.process, signal.SIGKILL)
        os.waitpid(self.process, 0)


def test_they_are_what_files_give_and_gone_when_nobody_uses_them(files: ImageDataset) -> None:
    images = kept(files)
    assert folder_of(images).parent == memory_folder()
    assert torch.equal(seen(images), seen(files))
    assert torch.equal(seen(images, workers=2), seen(files)), "also in processes that end before"
    assert folder_of(images).is_dir()
    del images
    assert folders() == []
    assert not list(memory_folder().glob("*.in-use"))


def test_another_process_shares_them_and_the_last_one_removes_them(
    files: ImageDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Other(files)
    with monkeypatch.context() as patch:
        patch.setattr(image_cache_module, "_built", lambda *_: pytest.fail("they are there"))
        images = kept(files)
    assert torch.equal(seen(images), seen(files))
    del images
    assert len(folders()) == 1, "which the other process still uses"
    other.end()
    assert folders() == []


def test_what_a_killed_process_has_left_is_removed_by_the_next(files: ImageDataset, tmp_path: Path) -> None:
    Other(files).kill()
    (left,) = folders()
    other = examine(load_folder(clean(tmp_path / "others")), 0, QUIET).dataset
    smaller = with_stored_images(other, Preprocessing(size=8, resize=8, square=True), "memory", 0, QUIET)
    assert folders() == [folder_of(smaller)] != [left]


def test_they_stay_between_the_runs_of_a_benchmark(files: ImageDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    with images_stay_in_memory():
        kept(files)
        assert len(folders()) == 1
        with monkeypatch.context() as patch:
            patch.setattr(image_cache_module, "_built", lambda *_: pytest.fail("they are there"))
            kept(files)
    assert folders() == []
    stale = memory_folder() / f"kept-by-{os.getpid()}"
    stale.touch()  # of a benchmark that was killed
    kept(files)
    assert folders() == []
    assert not stale.exists()


def test_too_little_memory_is_said_with_what_is_needed(files: ImageDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_cache_module, "free_memory", lambda: 1000)
    with pytest.raises(InputError, match=r"need about 1[0-9][0-9] KiB in .*, 1 KiB are free: use --cache disk"):
        kept(files)
    assert folders() == []


def test_free_memory_is_that_of_the_file_system_or_of_the_system(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "meminfo").write_text("MemTotal:       99 kB\nMemAvailable:      12 kB\n")
    monkeypatch.setattr(image_memory_module, "_MEMORY", tmp_path / "meminfo")
    assert image_memory_module.free_memory() == 12 * 1024
    monkeypatch.setattr(image_memory_module, "_MEMORY", tmp_path / "none")
    assert image_memory_module.free_memory() > 12 * 1024


def test_a_folder_of_somebody_else_is_refused(memory: Path, files: ImageDataset) -> None:
    (memory / f"domain-masks-{os.getuid()}").symlink_to(memory)
    with pytest.raises(InputError, match="--cache memory: expected a folder of your own"):
        kept(files)
    with images_stay_in_memory():
        pass
