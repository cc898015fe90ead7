"""Texts in one buffer are the texts, and go to worker processes without a copy."""

from __future__ import annotations

import os
import pickle
import random
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import numpy as np
import pytest
import torch

from domain_masks.data import Subset, default_preprocessing
from domain_masks.data import packed_texts as module
from domain_masks.data.dataset import fingerprint_of, without_rows
from domain_masks.data.file_dataset import ImageFile, dataset_of_files
from domain_masks.data.image_reading import ImageReader, RowLists, image_batches
from domain_masks.data.packed_texts import PackedTexts

TEXTS = ("a/x/1.jpg", "", "ü/本/2.jpg", os.fsdecode(b"b/\xff.png"), "\ud83d", "a\0b", "last")


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 100])
def test_texts_come_back_as_they_were(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CHUNK", chunk)
    packed = PackedTexts(iter(TEXTS))
    assert tuple(packed) == TEXTS
    assert [packed[row] for row in range(-len(TEXTS), len(TEXTS))] == [*TEXTS, *TEXTS]
    assert packed[np.int64(2)] == TEXTS[2]
    for part in (slice(None), slice(1, 4), slice(2, None), slice(None, None, -2), slice(5, 2), slice(-3, 100)):
        assert packed[part] == TEXTS[part]
    assert packed == TEXTS == packed
    assert packed == PackedTexts(TEXTS)
    assert packed != PackedTexts(TEXTS[:-1])
    assert packed != (*TEXTS[:-1], "lost")
    assert "ü/本/2.jpg" in packed
    assert packed.index("last") == 6
    with pytest.raises(IndexError):
        packed[len(TEXTS)]
    assert not PackedTexts(())
    assert PackedTexts(()) == ()
    assert pickle.loads(pickle.dumps(packed)) == TEXTS
    assert ForkingPickler.loads(ForkingPickler.dumps(packed)) == TEXTS


def test_the_fingerprint_does_not_depend_on_how_texts_are_kept() -> None:
    names = [f"{row}.jpg" for row in range(200_000)]
    assert fingerprint_of([names, ()], []) == fingerprint_of([PackedTexts(names), ()], [])
    once = fingerprint_of([("\0".join(names),), ("",)], [])
    assert fingerprint_of([names, ()], []) == once


def of_files(count: int) -> Subset:
    files = [ImageFile(f"a/x/{row:08d}.jpg", "a", "x") for row in range(count)]
    dataset = dataset_of_files("many", Path(), files, (("a",), ("x",)))
    object.__setattr__(dataset, "contents", np.zeros((count, 16), dtype=np.uint8))
    return Subset(dataset, np.arange(count))


def test_rows_that_are_left_out_leave_the_others() -> None:
    dataset = of_files(5).dataset
    rest = without_rows(dataset, [0, 3])
    assert rest.ids == rest.open_image.paths == tuple(dataset.ids[row] for row in (1, 2, 4))


def test_a_worker_gets_no_copy_of_the_index() -> None:
    sizes = []
    for count in (10, 20_000):
        subset = of_files(count)
        loader = image_batches(
            ImageReader(subset, default_preprocessing(subset.dataset, 8), None), RowLists(), 1, False
        )
        sizes.append(len(ForkingPickler.dumps(loader.dataset)))
    assert max(sizes) < 10_000
    assert abs(sizes[1] - sizes[0]) < 100


def private_memory(rows: list[int], names: object) -> int:
    """Read some names in a forked process; returns the bytes of the pages that it had to copy for that."""
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        try:
            before = _private()
            for row in rows:
                names[row]  # type: ignore[index]
            os.write(writing, str(_private() - before).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as result:
        found = int(result.read())
    os.waitpid(child, 0)
    return found


def _private() -> int:
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Private_"))


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="the system does not tell a process's pages")
def test_reading_names_in_a_forked_worker_copies_no_pages() -> None:
    names = tuple(f"domain/class/an_image_with_a_long_name_{row:08d}.jpg" for row in range(400_000))
    rows = random.Random(0).sample(range(len(names)), 20_000)
    packed = PackedTexts(names)
    assert private_memory(rows, packed) < 5e6
    # What it would be otherwise, so that the test can fail.
    assert private_memory(rows, names) > 15e6


@pytest.mark.slow
def test_a_spawned_worker_reads_the_shared_texts() -> None:
    context = torch.multiprocessing.get_context("spawn")
    packed = PackedTexts(TEXTS)
    with context.Pool(1) as pool:
        assert pool.apply(tuple, (packed,)) == TEXTS
    assert packed.shared is not None
