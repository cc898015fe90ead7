"""Images that are kept decoded are those that files give, byte for byte, and are made again when a file has changed."""

from __future__ import annotations

import os
import pickle
import re
import shutil
import signal
import threading
import time
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch

from assorted_images import odd_images, picture
from domain_masks.data import (
    ImageDataset,
    LoaderSettings,
    Preprocessing,
    Subset,
    TrainingLoader,
    evaluation_batches,
    examine,
    load_digits_dataset,
    load_folder,
    view_batches,
    with_stored_images,
    without_rows,
)
from domain_masks.data import image_cache as image_cache_module
from domain_masks.data.preprocessing import Decoding
from domain_masks.data.stored_images import INDEX, PIXELS, StoredOpener
from domain_masks.errors import InputError, RunFolderError
from domain_masks.progress import ConsoleReporter
from domain_masks.records.cache import cache_folder
from reporters import RecordingReporter

QUIET = ConsoleReporter(quiet=True)
PREPARED = Preprocessing(size=32, resize=32, square=True)
"""Training asks for 74 pixels, evaluation for 64: a JPEG of 140 is halved for evaluation alone."""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return odd_images(tmp_path / "images")


def opened(root: Path) -> ImageDataset:
    return examine(load_folder(root), 0, QUIET).dataset


def cached(
    dataset: ImageDataset, prepared: Preprocessing = PREPARED, reporter: ConsoleReporter = QUIET
) -> ImageDataset:
    return with_stored_images(dataset, prepared, "disk", 0, reporter)


def stored(dataset: ImageDataset) -> StoredOpener:
    assert isinstance(dataset.open_image, StoredOpener)
    return dataset.open_image


def training(dataset: ImageDataset, prepared: Preprocessing, augmentation: str, workers: int = 0) -> torch.Tensor:
    subset = Subset(dataset, range(len(dataset)))
    settings = LoaderSettings(8, seed=3, workers=workers)
    return torch.cat([batch.images for batch in TrainingLoader(subset, "ab", prepared, settings, augmentation)])


def evaluation(dataset: ImageDataset, prepared: Preprocessing = PREPARED) -> torch.Tensor:
    subset = Subset(dataset, range(len(dataset)))
    return torch.cat([batch.images for batch in evaluation_batches(subset, prepared, 8)])


def without_files(dataset: ImageDataset, root: Path) -> ImageDataset:
    """Return the dataset once its files have gone: what it gives then comes from elsewhere."""
    root.rename(root.with_name("gone"))
    return dataset


@pytest.mark.parametrize(
    "prepared",
    [
        PREPARED,
        Preprocessing(size=32, resize=37, square=False),
        Preprocessing(size=48, resize=48, square=False, interpolation="bicubic", value_range=(0, 30000)),
        Preprocessing(size=24, resize=24, square=True, stored=24),
    ],
)
@pytest.mark.parametrize("augmentation", ["pacs", "standard", "none"])
def test_what_is_kept_gives_the_bytes_that_files_give(tree: Path, prepared: Preprocessing, augmentation: str) -> None:
    files = opened(tree)
    expected = training(files, prepared, augmentation), evaluation(files, prepared)
    subset = Subset(files, [5, 0, 3])
    ((views, _),) = view_batches(subset, prepared, augmentation, 3, (8, 0))
    kept = without_files(cached(files, prepared), tree)
    assert torch.equal(training(kept, prepared, augmentation), expected[0])
    assert torch.equal(training(kept, prepared, augmentation, workers=2), expected[0])
    assert torch.equal(evaluation(kept, prepared), expected[1])
    ((same, _),) = view_batches(Subset(kept, subset.indices), prepared, augmentation, 3, (8, 0))
    assert torch.equal(same, views)


def test_training_and_evaluation_keep_their_own_sizes_of_a_jpeg(tree: Path) -> None:
    kept = cached(opened(tree))
    row = kept.ids.index("a/x/halved.jpg")
    shapes = [stored(kept).decoded(row, PREPARED.decoding(purpose)).shape for purpose in ("training", "evaluation")]
    assert shapes == [(140, 140, 3), (70, 70, 3)]
    assert stored(kept).decoded(row, Decoding("training", 99)) is None, "which is read from its file"
    images = stored(kept).stored
    once = {tuple(offsets) for offsets in images.offsets.tolist() if len(set(offsets)) == 1}
    assert len(once) == len(images.contents) - 1, "all others are there once for both"
    assert len(images.contents) == 10 + 4, "and copies once"


def test_images_prepared_otherwise_are_read_from_their_files(tree: Path) -> None:
    files, other = opened(tree), Preprocessing(size=20, resize=20, square=True)
    assert torch.equal(evaluation(cached(files), other), evaluation(files, other))


def test_they_are_made_once_for_all_parts_and_orders_of_a_dataset(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = opened(tree)
    folder = stored(cached(files)).stored.folder
    monkeypatch.setattr(image_cache_module, "_built", lambda *_: pytest.fail("they are there"))
    copy = shutil.copytree(tree, tree.with_name("copy"))
    assert stored(cached(opened(copy))).stored.folder == folder
    again = cached(files)
    part = without_rows(again, [0, 2])
    assert torch.equal(evaluation(part), evaluation(without_rows(files, [0, 2])))


def test_an_image_that_has_changed_since_is_noticed(tree: Path) -> None:
    before = evaluation(cached(opened(tree)))
    path = tree / "a" / "x" / "wide.png"
    state = path.stat()
    picture(77, 90, 31).save(path)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    files = opened(tree)
    after = evaluation(cached(files))
    assert torch.equal(after, evaluation(files))
    differs = (after != before).flatten(1).any(1)
    assert [files.ids[row] for row in differs.nonzero().flatten().tolist()] == ["a/x/wide.png"]


def test_an_image_that_changes_before_it_is_kept_is_refused(tree: Path) -> None:
    files = opened(tree)
    picture(77, 90, 31).save(tree / "a" / "x" / "wide.png")
    with pytest.raises(InputError, match=r"image 'a/x/wide.png': its content has changed"):
        cached(files)


def test_a_corrupt_image_is_refused_in_the_words_of_reading_it(tree: Path) -> None:
    path = tree / "b" / "x" / "wide.png"
    path.write_bytes(path.read_bytes()[:200])
    files = examine(load_folder(tree), 0, QUIET, decode_images=False).dataset
    with pytest.raises(InputError) as plain:
        evaluation(files)
    with pytest.raises(InputError) as kept:
        cached(files)
    assert str(kept.value) == str(plain.value)


@pytest.mark.parametrize("damage", ["no index", "cut index", "no pixels", "cut pixels"])
def test_what_is_not_whole_is_made_again(tree: Path, damage: str) -> None:
    files = opened(tree)
    folder = stored(cached(files)).stored.folder
    how, _, what = damage.partition(" ")
    path = folder / {"index": INDEX, "pixels": PIXELS}[what]
    if how == "no":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-9])
    assert torch.equal(evaluation(cached(files)), evaluation(files))


def test_a_builder_that_is_killed_leaves_nothing_in_the_way(tree: Path) -> None:
    files = opened(tree)
    folder = cache_folder() / "images" / image_cache_module.source_of(files, PREPARED).key
    process = os.fork()
    if process == 0:
        chunks = image_cache_module._decoded

        def killed(found):
            yield next(chunks(found))
            os.kill(os.getpid(), signal.SIGKILL)

        image_cache_module._decoded = killed
        cached(files)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == -signal.SIGKILL
    assert list(folder.glob(".*.partial.*"))
    kept = cached(files)
    assert not list(folder.glob(".*.partial.*"))
    assert torch.equal(evaluation(kept), evaluation(files))


def test_of_two_builders_one_waits_for_the_other(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files, built, told = opened(tree), [], RecordingReporter()
    build = image_cache_module._built
    has_begun = threading.Event()

    def slowly(*arguments):
        has_begun.set()
        deadline = time.monotonic() + 60
        while not told.lines and time.monotonic() < deadline:
            time.sleep(0.01)
        built.append(arguments)
        return build(*arguments)

    monkeypatch.setattr(image_cache_module, "_built", slowly)
    first = threading.Thread(target=cached, args=(files,))
    first.start()
    assert has_begun.wait(60)
    kept = cached(files, PREPARED, told)
    first.join()
    assert len(built) == 1
    assert "waiting for another process" in told.lines[0]
    assert torch.equal(evaluation(kept), evaluation(files))


def test_images_that_do_not_fit_are_refused_with_their_size(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = opened(tree)
    usage = namedtuple("usage", "total used free")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: usage(0, 0, 200_000))
        with pytest.raises(InputError) as refused:
            cached(files)
    assert re.search(
        r"need about 2\d\d KiB in .*images, 195 KiB are free: set \$DMG_CACHE .*, or use --cache none",
        str(refused.value),
    )
    whole = stored(cached(files)).stored.bytes
    source = image_cache_module.source_of(files, PREPARED)
    assert image_cache_module.estimated_bytes(source) == whole, "of few images all are looked at"


def test_a_folder_that_cannot_be_written_to_is_named(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = opened(tree)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DMG_CACHE", str(tmp_path / "file"))
    with pytest.raises((InputError, RunFolderError), match=r"cannot keep images in .*Set \$DMG_CACHE"):
        cached(files)


def test_images_in_memory_are_not_kept_again() -> None:
    told, digits = RecordingReporter(), load_digits_dataset()
    assert with_stored_images(digits, PREPARED, "disk", 0, told) is digits
    assert told.lines == ["cache: the images of digits are in memory already"]


def test_another_process_gets_the_place_and_not_the_pixels(tree: Path) -> None:
    kept = cached(opened(tree))
    decoding = PREPARED.decoding("training")
    stored(kept).decoded(0, decoding)
    sent = pickle.dumps(kept.open_image)
    assert len(sent) < stored(kept).stored.bytes / 10
    there = pickle.loads(sent)
    assert np.array_equal(there.decoded(3, decoding), stored(kept).decoded(3, decoding))
    there.decoded(3, decoding)[:] = 0
    assert stored(kept).decoded(3, decoding).any(), "what a process writes is its own"
