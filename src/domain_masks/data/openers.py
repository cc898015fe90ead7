"""Openers of a dataset's images, with optional methods for an image's bytes and their state.

Any function from row to opened image is an opener. It may also have the methods ``read``, which returns the bytes that
an image is decoded from and the state of their file (None where they have to be read again to tell), ``states``, the
current states of all rows, and ``decoded``, which returns an image from a cache of decoded images; and the attribute
``in_memory``: images are decoded already and cannot be corrupt.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from PIL import Image

from domain_masks.data.image_files import open_image_file
from domain_masks.data.packed_texts import PackedTexts
from domain_masks.records.file_state import read_with_state, state_of

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from domain_masks.data.preprocessing import Decoding

Opener = Callable[[int], Image.Image]
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
_THREADS = 8
_CHUNK = 256


@dataclass(frozen=True)
class FileOpener:
    """Opens the file of a row; holds paths only, so that it can be pickled for worker processes.

    ``paths`` are relative to ``root``, one per row.
    """

    root: Path
    paths: Sequence[str]

    def __call__(self, row: int) -> Image.Image:
        """Open the image of ``row`` without decoding it; raises what Pillow raises if it cannot."""
        return open_image_file(self.root / self.paths[row])

    def read(self, row: int) -> tuple[bytes, str | None]:
        """Return the bytes of the file of ``row``, and its state; raises OSError."""
        return read_with_state(self.root / self.paths[row])

    def states(self) -> list[str | None]:
        """Return the state of every file."""
        paths = [os.path.join(self.root, path) for path in self.paths]  # noqa: PTH118 - half a million
        return list(in_threads(lambda part: [state_of(path) for path in part], paths))


@dataclass(frozen=True)
class RowsOpener:
    """Opens some rows of another opener, renumbered from 0."""

    opener: Opener
    rows: tuple[int, ...]

    @property
    def in_memory(self) -> bool:
        """Whether the other opener's images are in memory."""
        return is_in_memory(self.opener)

    def __call__(self, row: int) -> Image.Image:
        """Open the image of ``row``; raises what the other opener raises."""
        return self.opener(self.rows[row])

    def read(self, row: int) -> tuple[bytes | None, str | None]:
        """Return the bytes and the state that the other opener returns."""
        return read_encoded(self.opener, self.rows[row])

    def states(self) -> list[str | None]:
        """Return the other opener's states of these rows."""
        inner = states(self.opener, max(self.rows, default=-1) + 1)
        return [inner[row] for row in self.rows]


def rows_of(opener: Opener, rows: Sequence[int]) -> Opener:
    """Return an opener of some rows, renumbered from 0."""
    if isinstance(opener, FileOpener):
        return FileOpener(opener.root, PackedTexts(opener.paths[row] for row in rows))
    return RowsOpener(opener, tuple(rows))


def is_in_memory(opener: Opener) -> bool:
    """Return an opener's attribute ``in_memory``: whether its images are decoded already, so that none can be corrupt."""
    return bool(getattr(opener, "in_memory", False))


def gives_bytes(opener: Opener) -> bool:
    """Return whether an opener can give the bytes that images are decoded from."""
    return gives_bytes(opener.opener) if isinstance(opener, RowsOpener) else hasattr(opener, "read")


def read_encoded(opener: Opener, row: int) -> tuple[bytes | None, str | None]:
    """Return the bytes that an image is decoded from, None where the opener has no ``read``, and their state.

    Raises what the opener raises.
    """
    read: Callable[[int], tuple[bytes | None, str | None]] | None = getattr(opener, "read", None)
    return (None, None) if read is None else read(row)


def states(opener: Opener, count: int) -> list[str | None]:
    """Return the current state of the file of each of ``count`` rows; None where it has to be read to tell."""
    own: Callable[[], Sequence[str | None]] | None = getattr(opener, "states", None)
    return [None] * count if own is None else list(own())


def cached_pixels(opener: Opener, row: int, decoding: Decoding) -> npt.NDArray[np.uint8] | None:
    """Return a decoded image, (H, W, 3), from the opener's cache; None where it has none of this ``decoding``."""
    cached: Callable[[int, Decoding], npt.NDArray[np.uint8] | None] | None = getattr(opener, "decoded", None)
    return None if cached is None else cached(row, decoding)


def in_threads(work: Callable[[Sequence[_Item]], list[_Result]], items: Sequence[_Item]) -> Iterator[_Result]:
    """Yield the results of ``work`` on chunks of ``items``, in order; chunks run in threads, which wait for disk or network."""
    parts = [items[start : start + _CHUNK] for start in range(0, len(items), _CHUNK)]
    if len(parts) < 2:
        for part in parts:
            yield from work(part)
        return
    with ThreadPoolExecutor(_THREADS) as pool:
        for results in pool.map(work, parts):
            yield from results
