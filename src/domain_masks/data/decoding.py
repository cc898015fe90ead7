"""Decode images in worker processes to verify that they can be read."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from PIL import Image, UnidentifiedImageError

from domain_masks.cores import cores
from domain_masks.data.content import UNREAD, read_image
from domain_masks.data.image_files import UNREADABLE, upright
from domain_masks.data.image_modes import assumed_white, is_deep, to_rgb, values_of
from domain_masks.data.openers import Opener

ProblemKind = Literal["unopened", "empty", "not-an-image", "truncated", "too-large", "broken"]

_CHUNK = 16
_WORTH_WORKERS = 200
_MOST_WORKERS = 8
_NO_ANIMATION = ("MPO",)
_LONGEST_START = 64
_STARTS = {
    b"<!doctype": "a web page",
    b"<html": "a web page",
    b"<?xml": "XML or SVG",
    b"<svg": "SVG",
    b"%pdf": "a PDF",
    b"version https://git-lfs": "a Git LFS pointer; the file itself was not fetched",
    b"pk\x03\x04": "a ZIP archive",
    b"\x1f\x8b": "a gzip archive",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """Why an image cannot be read.

    ``kind`` "unopened" means the file system (missing, no permission), the others the file's content.
    """

    kind: ProblemKind
    reason: str


@dataclass(frozen=True, slots=True)
class Depth:
    """Depth of an image of more than 8 bits: Pillow's mode, its range of values, and the value that is read as white."""

    mode: str
    lowest: float
    largest: float
    white: float


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """Facts about a decoded image: its upright size in pixels, frames, and hashes of its file and of its RGB pixels.

    ``depth`` is None for images of 8 bits.
    """

    width: int
    height: int
    frames: int
    file_hash: str
    pixel_hash: str
    depth: Depth | None = None


@dataclass(frozen=True, slots=True)
class Decoded:
    """The result of decoding the image of a row: a problem, or facts if they were requested.

    ``content`` is the hash of the decoded bytes, ``state`` the state of their file; see
    :mod:`domain_masks.data.content`.
    """

    row: int
    problem: Problem | None = None
    facts: ImageFacts | None = None
    content: bytes = UNREAD
    state: str | None = None


def decode_all(
    open_image: Opener, rows: Sequence[int], workers: int | None = None, with_facts: bool = False
) -> Iterator[Decoded]:
    """Decode the images of ``rows`` as training does and yield the results in order.

    ``workers`` is the number of processes, by default one per core up to 8; a small number of images is read in this process.
    """
    # A missing dataset is reported without importing torch.
    from domain_masks.data.reading_processes import batch_loader, interrupts_held  # noqa: PLC0415

    count = min(_MOST_WORKERS, cores()) if workers is None else workers
    chunks = [list(rows[start : start + _CHUNK]) for start in range(0, len(rows), _CHUNK)]
    decoder: Any = _Decoder(open_image, with_facts)
    loader = batch_loader(decoder, chunks, count if len(rows) >= _WORTH_WORKERS else 0)
    with interrupts_held():
        batches: Iterator[list[Decoded]] = iter(loader)
    for chunk in batches:
        yield from chunk


def decode(open_image: Opener, row: int, with_facts: bool = False) -> Decoded:
    """Decode one image as training does; ``with_facts`` decodes at full scale and returns facts."""
    content, state, encoded = UNREAD, None, None
    with warnings.catch_warnings():
        # Pillow warns of large images and odd metadata, once per process: training reads them anyway.
        warnings.simplefilter("ignore")
        try:
            # Hash and decode the same bytes, even if the file changes meanwhile.
            read = read_image(open_image, row)
            content, state, encoded = read.content, read.state, read.encoded
            with read.open() as image:
                if with_facts:
                    return Decoded(row, None, _facts(image, content), content, state)
                if image.format == "JPEG":
                    # The entropy coding is read to its end at any scale, so that truncated files are detected.
                    image.draft(None, (1, 1))
                to_rgb(image)
        except UNREADABLE as error:
            return Decoded(row, problem_of(error, encoded), None, content, state)
    return Decoded(row, None, None, content, state)


class _Decoder:
    """The map-style dataset of torch's DataLoader."""

    def __init__(self, open_image: Opener, with_facts: bool) -> None:
        self._open_image = open_image
        self._with_facts = with_facts

    def __getitem__(self, rows: list[int]) -> list[Decoded]:
        return [decode(self._open_image, row, self._with_facts) for row in rows]


def _facts(image: Image.Image, hashed: bytes) -> ImageFacts:
    decoded = upright(image) if is_deep(image) else image
    depth = _depth(decoded) if is_deep(decoded) else None
    rgb = to_rgb(decoded)
    size = f"{rgb.width}x{rgb.height}:".encode()
    pixel_hash = hashlib.blake2b(size + rgb.tobytes(), digest_size=16).hexdigest()
    frames = 1
    with suppress(Exception):
        # Later frames, broken or not, are never read.
        frames = 1 if image.format in _NO_ANIMATION else getattr(image, "n_frames", 1)
    return ImageFacts(rgb.width, rgb.height, frames, hashed.hex(), pixel_hash, depth)


def _depth(image: Image.Image) -> Depth | None:
    values = values_of(image)
    if not values.size:
        return None
    largest = float(values.max())
    return Depth(image.mode, float(values.min()), largest, assumed_white(image.mode, largest))


def problem_of(error: BaseException, source: Path | bytes | None = None) -> Problem:
    """Return the problem of an image from the error that opening or decoding it raised; ``source`` is its file or content."""
    if isinstance(error, OSError) and error.errno is not None:
        if isinstance(error, FileNotFoundError):
            return Problem("unopened", "there is no such file")
        return Problem("unopened", (error.strerror or str(error)).lower())
    text = str(error) or type(error).__name__
    if isinstance(error, Image.DecompressionBombError):
        return Problem("too-large", f"more than {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels")
    if isinstance(error, UnidentifiedImageError):
        return _not_an_image(_start_of(source))
    if isinstance(error, EOFError) or "truncated" in text.lower():
        return Problem("truncated", "the file ends too early")
    return Problem("broken", text if isinstance(error, OSError) else f"{type(error).__name__}: {text}")


def _start_of(source: Path | bytes | None) -> bytes | None:
    """Return the first bytes of a file; None where it cannot be read."""
    if not isinstance(source, Path):
        return source if source is None else source[:_LONGEST_START]
    try:
        with source.open("rb") as file:
            return file.read(_LONGEST_START)
    except OSError:
        return None


def _not_an_image(start: bytes | None) -> Problem:
    if start is not None and not start.strip(b"\0"):
        return Problem("not-an-image", "nothing but zeros") if start else Problem("empty", "the file is empty")
    plain = (start or b"").removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    known = next((name for beginning, name in _STARTS.items() if plain.startswith(beginning)), None)
    return Problem("not-an-image", f"it is {known}" if known else "unsupported or corrupt image")
