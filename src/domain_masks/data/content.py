"""Content hashes of images, independent of file names and places, from the bytes that are decoded."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from domain_masks.data.dataset import HASH_BYTES, ImageDataset, fingerprint_of
from domain_masks.data.image_files import open_image_file
from domain_masks.data.openers import Opener, in_threads, read_encoded
from domain_masks.records.file_state import content_hash

UNREAD = bytes(HASH_BYTES)
"""Stands for the content of a file that cannot be read."""


class ChangedImageError(OSError):
    """An image has changed since its dataset was identified."""


def content_of(dataset: ImageDataset) -> str:
    """Return the content fingerprint of a dataset, 32 hexadecimal digits: of all images, labels, domains, splits and groups.

    It does not depend on folder, name or times of change: a copy has the same one. Images that have not been identified are
    read now.
    """
    contents = dataset.contents
    if contents is None:
        found = b"".join(content for _, content, _ in hash_all(dataset.open_image, range(len(dataset))))
        contents = np.frombuffer(found, dtype=np.uint8).reshape(-1, HASH_BYTES)
    names: list[Sequence[str]] = [dataset.classes, dataset.domains, dataset.ids]
    names += [column.tolist() if column is not None else () for column in (dataset.splits, dataset.groups)]
    return fingerprint_of(names, [dataset.labels, dataset.domain_indices, contents])


@dataclass(frozen=True)
class ReadImage:
    """An image that was read: ``open`` decodes the very bytes that were hashed.

    - ``content``: the hash, 16 bytes; ``state``: see :mod:`domain_masks.data.openers`
    - ``encoded``: the bytes; None for openers that have none to give, whose pixels are hashed
    """

    content: bytes
    state: str | None
    encoded: bytes | None
    open: Callable[[], Image.Image]


def read_image(opener: Opener, row: int) -> ReadImage:
    """Return the content of an image, not decoded unless its opener has no bytes to give; raises what the opener raises."""
    encoded, state = read_encoded(opener, row)
    if encoded is None:
        image = opener(row)
        return ReadImage(hash_of_pixels(image), state, None, lambda: image)
    return ReadImage(content_hash(encoded), state, encoded, lambda: open_image_file(io.BytesIO(encoded)))


def hash_of_pixels(image: Image.Image) -> bytes:
    """Return the hash of a decoded image, 16 bytes, for openers that have no bytes to give."""
    return content_hash(f"{image.mode}:{image.width}x{image.height}:".encode() + image.tobytes())


def open_same(opener: Opener, row: int, expected: bytes | None) -> Image.Image:
    """Open an image for decoding, from the very bytes that were compared with its known content.

    ``expected`` None compares nothing. Raises ChangedImageError where they are others, and what the opener raises.
    """
    if expected is None:
        return opener(row)
    image = read_image(opener, row)
    if image.content != expected:
        raise ChangedImageError(
            "its content is no longer what it was when the dataset was opened. Restore it, or restart the run"
        )
    return image.open()


def hash_all(opener: Opener, rows: Sequence[int]) -> Iterator[tuple[int, bytes, str | None]]:
    """Yield row, content hash and state of images, without decoding those that are files; UNREAD for what cannot be read."""

    def hashed(row: int) -> tuple[int, bytes, str | None]:
        try:
            image = read_image(opener, row)
        # Decoding will raise it again and report it.
        except Exception:
            return row, UNREAD, None
        return row, image.content, image.state

    yield from in_threads(lambda part: [hashed(row) for row in part], rows)
