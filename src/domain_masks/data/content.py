"""What images hold, whatever their files are called and wherever they lie: a hash of each, from the bytes that are decoded."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from PIL import Image

from domain_masks.data.dataset import HASH_BYTES, FileOpener, ImageDataset, RowsOpener, fingerprint_of
from domain_masks.data.image_files import open_image_file
from domain_masks.records.file_state import content_hash, read_with_state, state_of

UNREAD = bytes(HASH_BYTES)
"""Stands for the content of a file that cannot be read."""
_Item = TypeVar("_Item")
_Found = TypeVar("_Found")
_THREADS = 8
_CHUNK = 256


class ChangedImageError(OSError):
    """An image is no longer the one that it was when its dataset was identified."""


def content_of(dataset: ImageDataset) -> str:
    """Return the fingerprint of a dataset, 32 hexadecimal digits: of what all images hold, and what is said of them.

    Where they lie, what the dataset is called and when its files were written does not matter: a copy has the same one. Images
    that have not been identified are read now.
    """
    contents = dataset.contents
    if contents is None:
        found = b"".join(content for _, content, _ in hash_all(dataset.open_image, range(len(dataset))))
        contents = np.frombuffer(found, dtype=np.uint8).reshape(-1, HASH_BYTES)
    names: list[Sequence[str]] = [dataset.classes, dataset.domains, dataset.ids]
    names += [column.tolist() if column is not None else () for column in (dataset.splits, dataset.groups)]
    return fingerprint_of(names, [dataset.labels, dataset.domain_indices, contents])


def read_encoded(open_image: Callable[[int], Image.Image], row: int) -> tuple[bytes | None, str | None]:
    """Return the bytes that an image is decoded from, and the state of what they come from.

    No bytes for an opener that cannot give them, which has no method ``read``; no state where they have to be read again to
    know whether they are the same. Raises what the opener raises.
    """
    if isinstance(open_image, RowsOpener):
        return read_encoded(open_image.open_image, open_image.rows[row])
    if isinstance(open_image, FileOpener):
        return read_with_state(open_image.root / open_image.paths[row])
    read = getattr(open_image, "read", None)
    if read is None:
        return None, None
    content, state = read(row)
    return bytes(content), state


def hash_of_pixels(image: Image.Image) -> bytes:
    """Return the hash of a decoded image, 16 bytes, for openers that have no bytes to give."""
    return content_hash(f"{image.mode}:{image.width}x{image.height}:".encode() + image.tobytes())


def open_same(open_image: Callable[[int], Image.Image], row: int, expected: bytes | None) -> Image.Image:
    """Open an image for decoding, from the very bytes that were compared with its known content.

    ``expected`` None compares nothing. Raises ChangedImageError where they are others, and what the opener raises.
    """
    if expected is None:
        return open_image(row)
    content, _ = read_encoded(open_image, row)
    image = open_image(row) if content is None else open_image_file(io.BytesIO(content))
    found = hash_of_pixels(image) if content is None else content_hash(content)
    if found != expected:
        raise ChangedImageError(
            "its content is no longer what it was when the dataset was opened. Put it back, or begin again"
        )
    return image


def hash_all(open_image: Callable[[int], Image.Image], rows: Sequence[int]) -> Iterator[tuple[int, bytes, str | None]]:
    """Yield row, content hash and state of images, without decoding those that are files; UNREAD for what cannot be read."""

    def hashed(row: int) -> tuple[int, bytes, str | None]:
        try:
            content, state = read_encoded(open_image, row)
            if content is not None:
                return row, content_hash(content), state
            with open_image(row) as image:
                return row, hash_of_pixels(image), None
        # Whatever an opener raises, decoding will meet it again and say it.
        except Exception:
            return row, UNREAD, None

    yield from _in_threads(lambda part: [hashed(row) for row in part], rows)


def states(open_image: Callable[[int], Image.Image], count: int) -> list[str | None]:
    """Return the present state of what each of ``count`` rows is read from; None where it has to be read to know."""
    if isinstance(open_image, RowsOpener):
        inner = states(open_image.open_image, max(open_image.rows, default=-1) + 1)
        return [inner[row] for row in open_image.rows]
    if isinstance(open_image, FileOpener):
        paths = [os.path.join(open_image.root, path) for path in open_image.paths]  # noqa: PTH118 - half a million
        return list(_in_threads(lambda part: [state_of(path) for path in part], paths))
    own: Callable[[], Sequence[str | None]] | None = getattr(open_image, "states", None)
    return [None] * count if own is None else list(own())


def _in_threads(work: Callable[[Sequence[_Item]], list[_Found]], items: Sequence[_Item]) -> Iterator[_Found]:
    """Yield what ``work`` gives for parts of ``items``, in order: waiting for a disk or the network is done side by side."""
    parts = [items[start : start + _CHUNK] for start in range(0, len(items), _CHUNK)]
    if len(parts) < 2:
        for part in parts:
            yield from work(part)
        return
    with ThreadPoolExecutor(_THREADS) as pool:
        for found in pool.map(work, parts):
            yield from found
