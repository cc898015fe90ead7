"""Decoded images in one file, memory-mapped: every process that reads it shares its pages.

A folder holds ``pixels.bin``, the RGB bytes of one image after the other, and ``index.npz``, which says where each lies. An
image is known by the hash of its content, and there once for each decoding, or once for all where they make the same of it.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from domain_masks.data.content import content_keys
from domain_masks.data.dataset import Int64Array
from domain_masks.data.openers import Opener, is_in_memory, read_encoded, states
from domain_masks.data.preprocessing import Decoding
from domain_masks.records.files import partial_files, writing

PIXELS, INDEX = "pixels.bin", "index.npz"
CHANNELS = 3

Contents = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class DecodedImages:
    """Some decoded images: ``pixels`` one after the other, and of each, for every decoding, its offset there and its size.

    - ``offsets``: (n, V) in bytes; ``sizes``: (n, V, 2), width and height
    """

    pixels: npt.NDArray[np.uint8]
    offsets: Int64Array
    sizes: Int64Array


@dataclass(frozen=True, eq=False)
class StoredImages:
    """Decoded images on disk; nothing is read until it is asked for. Sent to another process, it is opened there again.

    - ``contents``: (M, 16) hashes, in order; ``offsets``: (M, V) in bytes; ``sizes``: (M, V, 2), width and height
    - ``decodings``: the V ways in which each image was decoded
    """

    folder: Path
    decodings: tuple[Decoding, ...]
    contents: Contents
    offsets: Int64Array
    sizes: Int64Array

    @cached_property
    def pixels(self) -> npt.NDArray[np.uint8]:
        """All bytes of all images, memory-mapped; what is written to them stays in this process."""
        # As a plain array: every slice of numpy's own class is an object with attributes to copy.
        return np.asarray(np.memmap(self.folder / PIXELS, dtype=np.uint8, mode="c"))

    @property
    def bytes(self) -> int:
        """How large the images are together."""
        return int(self._ends().max(initial=0))

    def rows_of(self, contents: Contents) -> Int64Array:
        """Return where images lie, (N,), by their contents (N, 16); raises KeyError for one that is not there."""
        known, wanted = content_keys(self.contents), content_keys(contents)
        rows = np.searchsorted(known, wanted).clip(max=max(0, len(known) - 1))
        if len(wanted) and (not len(known) or bool((known[rows] != wanted).any())):
            raise KeyError("an image is not among those that are stored")
        return rows.astype(np.int64)

    def image(self, row: int, decoding: Decoding) -> npt.NDArray[np.uint8] | None:
        """Return an image, (H, W, 3); None where ``decoding`` is not one of :attr:`decodings`."""
        if decoding not in self.decodings:
            return None
        version = self.decodings.index(decoding)
        start = int(self.offsets[row, version])
        width, height = (int(side) for side in self.sizes[row, version])
        return self.pixels[start : start + width * height * CHANNELS].reshape(height, width, CHANNELS)

    def __reduce__(self) -> tuple[Callable[..., StoredImages], tuple[object, ...]]:
        # Without what is mapped, which would be sent as a copy.
        return StoredImages, (self.folder, self.decodings, self.contents, self.offsets, self.sizes)

    def _ends(self) -> Int64Array:
        ends: Int64Array = self.offsets + self.sizes.prod(axis=-1) * CHANNELS
        return ends

    def is_whole(self) -> bool:
        """Whether the file holds all bytes that the index speaks of."""
        try:
            return (self.folder / PIXELS).stat().st_size == self.bytes
        except OSError:
            return False


def open_stored(folder: Path, decodings: tuple[Decoding, ...]) -> StoredImages | None:
    """Return the images that are stored in a folder; None where there are none, or not all."""
    try:
        with np.load(folder / INDEX, allow_pickle=False) as index:
            stored = StoredImages(folder, decodings, index["contents"], index["offsets"], index["sizes"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    if not stored.is_whole():
        return None
    # Mapped now, and so in worker processes that are forked, even if the files are removed meanwhile.
    return stored if stored.pixels.size == stored.bytes else None


def store(folder: Path, contents: Contents, parts: Iterable[DecodedImages]) -> None:
    """Write images, in the order of their ``contents`` (M, 16); they can be opened once all are there.

    What a killed writer has left is removed; nobody else may write there. Raises what :func:`writing` raises, and what the
    iteration does.
    """
    for name in (PIXELS, INDEX):
        for stale in partial_files(folder / name):
            stale.unlink(missing_ok=True)
    offsets, sizes, end = [], [], 0
    # Written, not mapped: a disk that fills up then is an error, and no crash.
    with writing(folder / PIXELS) as temporary, temporary.open("wb") as file:
        for part in parts:
            file.write(part.pixels.data)
            offsets.append(part.offsets + end)
            sizes.append(part.sizes)
            end += part.pixels.size
    # Last, since it says that the images are whole.
    with writing(folder / INDEX) as temporary, temporary.open("wb") as file:
        np.savez(file, contents=contents, offsets=np.concatenate(offsets), sizes=np.concatenate(sizes))


@dataclass(frozen=True, eq=False)
class StoredOpener:
    """Opens images as another opener does, and gives them decoded where they are stored; ``rows``: where each lies, (N,)."""

    opener: Opener
    stored: StoredImages
    rows: Int64Array

    @property
    def in_memory(self) -> bool:
        """Whether the other opener's images are in memory."""
        return is_in_memory(self.opener)

    def __call__(self, row: int) -> Image.Image:
        """Open the image of ``row``, as the other opener does; raises what that raises."""
        return self.opener(row)

    def read(self, row: int) -> tuple[bytes | None, str | None]:
        """Return what the other opener reads."""
        return read_encoded(self.opener, row)

    def states(self) -> list[str | None]:
        """Return what the other opener says of its rows."""
        return states(self.opener, len(self.rows))

    def decoded(self, row: int, decoding: Decoding) -> npt.NDArray[np.uint8] | None:
        """Return the image of ``row``, (H, W, 3); None where it is not stored for this ``decoding``."""
        return self.stored.image(int(self.rows[row]), decoding)


def unique_contents(contents: Contents) -> tuple[Contents, Int64Array]:
    """Return the different ones among contents (N, 16), in the order of :attr:`StoredImages.contents`, and a row of each."""
    _, first = np.unique(content_keys(contents), return_index=True)
    return contents[first], first.astype(np.int64)
