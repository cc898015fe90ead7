"""What openers of rows can be asked, also through a choice of their rows, and what plain functions cannot."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from domain_masks.data.openers import FileOpener, RowsOpener, in_threads, is_in_memory, read_encoded, rows_of, states
from trees_of_images import save


def plain(row: int) -> Image.Image:
    return Image.new("RGB", (row + 1, 1))


class InMemory:
    in_memory = True

    def __call__(self, row: int) -> Image.Image:
        return plain(row)


@pytest.fixture
def files(tmp_path: Path) -> FileOpener:
    names = tuple(f"{number}.png" for number in range(4))
    for number, name in enumerate(names):
        save(tmp_path / name, number)
    return FileOpener(tmp_path, names)


def test_a_choice_of_files_is_an_opener_of_files(files: FileOpener) -> None:
    assert rows_of(files, [2, 0]) == FileOpener(files.root, ("2.png", "0.png"))
    content, _ = read_encoded(files, 3)
    assert content == (files.root / "3.png").read_bytes()
    assert None not in states(files, 4)


def test_a_choice_of_rows_passes_everything_on(files: FileOpener) -> None:
    chosen = RowsOpener(files, (2, 0))
    assert chosen.read(1) == files.read(0)
    assert chosen.states() == [files.states()[2], files.states()[0]]
    assert not is_in_memory(chosen)
    assert is_in_memory(rows_of(InMemory(), [0]))
    assert rows_of(plain, [5, 3])(1).width == 4


def test_a_plain_function_has_no_bytes_and_no_state() -> None:
    assert read_encoded(plain, 0) == (None, None)
    assert states(plain, 3) == [None] * 3
    assert read_encoded(rows_of(plain, [1]), 0) == (None, None)


@pytest.mark.parametrize("count", [0, 1, 256, 1000])
def test_threads_keep_the_order(count: int) -> None:
    assert list(in_threads(lambda part: [2 * item for item in part], range(count))) == list(range(0, 2 * count, 2))
