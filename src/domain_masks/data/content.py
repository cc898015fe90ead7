"""Content hashes of images, computed from the bytes that are decoded; independent of file names and locations."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from domain_masks.data.dataset import HASH_BYTES, ImageDataset, fingerprint_of
from domain_masks.data.image_files import open_image_file
from domain_masks.data.openers import Opener, in_threads, read_encoded
from domain_masks.records.file_state import content_hash

UNREAD = bytes(HASH_BYTES)
"""The content of a file that cannot be read."""


class ChangedImageError(OSError):
    """An image has changed since its dataset was identified."""


def content_of(dataset: ImageDataset) -> str:
    """Return the content fingerprint of a dataset, 32 hexadecimal digits: of all images, labels, domains, splits and groups.

    It does not depend on folder, name or modification times: a copy has the same one. Images that have not been hashed
    are read now.
    """
    contents = contents_of(dataset)
    names: list[Sequence[str]] = [dataset.classes, dataset.domains, dataset.ids]
    names += [column.tolist() if column is not None else () for column in (dataset.splits, dataset.groups)]
    return fingerprint_of(names, [dataset.labels, dataset.domain_indices, contents])


def contents_of(dataset: ImageDataset) -> npt.NDArray[np.uint8]:
    """Return the hash of every image, (N, 16); those that have not been identified are read now."""
    if dataset.contents is not None:
        return dataset.contents
    found = b"".join(content for _, content, _ in hash_all(dataset.open_image, range(len(dataset))))
    return np.frombuffer(found, dtype=np.uint8).reshape(-1, HASH_BYTES)


def content_keys(contents: npt.NDArray[np.uint8]) -> npt.NDArray[np.void]:
    """Return hashes (N, 16) as single values that can be compared, sorted and found among others, (N,)."""
    return np.ascontiguousarray(contents).view(np.dtype((np.void, HASH_BYTES))).reshape(-1)


@dataclass(frozen=True)
class ReadImage:
    """An image that was read: ``open`` decodes the bytes that were hashed.

    - ``content``: the hash, 16 bytes; ``state``: see :mod:`domain_masks.data.openers`
    - ``encoded``: the bytes; None for openers without them, whose pixels are hashed
    """

    content: bytes
    state: str | None
    encoded: bytes | None
    open: Callable[[], Image.Image]


def read_image(opener: Opener, row: int) -> ReadImage:
    """Return the content of an image, decoded only if its opener gives no bytes; raises what the opener raises."""
    encoded, state = read_encoded(opener, row)
    if encoded is None:
        image = opener(row)
        return ReadImage(hash_of_pixels(image), state, None, lambda: image)
    return ReadImage(content_hash(encoded), state, encoded, lambda: open_image_file(io.BytesIO(encoded)))


def hash_of_pixels(image: Image.Image) -> bytes:
    """Return the hash of a decoded image, 16 bytes, for openers that give no bytes."""
    return content_hash(f"{image.mode}:{image.width}x{image.height}:".encode() + image.tobytes())


def open_same(opener: Opener, row: int, expected: bytes | None) -> Image.Image:
    """Open an image for decoding, from the same bytes that are compared with its known content.

    Nothing is compared where ``expected`` is None. Raises ChangedImageError where they differ, and what the opener raises.
    """
    return opener(row) if expected is None else read_same(opener, row, expected).open()


def read_same(opener: Opener, row: int, expected: bytes | None) -> ReadImage:
    """Read an image as :func:`read_image` does; raises ChangedImageError where its content is not ``expected``, unless None."""
    image = read_image(opener, row)
    if expected is not None and image.content != expected:
        raise ChangedImageError("its content has changed since the dataset was opened. Restore it, or restart the run")
    return image


def hash_all(opener: Opener, rows: Sequence[int]) -> Iterator[tuple[int, bytes, str | None]]:
    """Yield row, content hash and state of images, without decoding files; the hash is UNREAD for unreadable ones."""

    def hashed(row: int) -> tuple[int, bytes, str | None]:
        try:
            image = read_image(opener, row)
        # Decoding raises the error again and reports it.
        except Exception:
            return row, UNREAD, None
        return row, image.content, image.state

    yield from in_threads(lambda part: [hashed(row) for row in part], rows)
