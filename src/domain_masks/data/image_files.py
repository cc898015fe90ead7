"""Opening and decoding image files; of their metadata, only the orientation is used."""

from __future__ import annotations

import io
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import IO, TYPE_CHECKING

from PIL import Image, TiffImagePlugin

from domain_masks.data.metadata import can_have_metadata, without_metadata

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

# What Pillow's decoders raise for broken files; a bug of ours raises something else and keeps its traceback.
UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, IndexError, Image.DecompressionBombError)

_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF's orientation -> the transposition that makes the image upright; 1 and all other values leave it unchanged."""


def open_image_file(source: Path | IO[bytes]) -> Image.Image:
    """Open an image without decoding it; raises one of UNREADABLE if it cannot.

    Pillow warns above 89 million pixels and refuses above twice as many, before it decodes. The warning is suppressed:
    scans and panoramas are that large. Where Pillow cannot parse the metadata, the file is read without it.
    """
    with _as_os_error():
        try:
            return Image.open(source)
        except Exception:
            plain = _plain(source)
            if plain is None:
                raise
        return Image.open(plain)


def upright(image: Image.Image) -> Image.Image:
    """Return the decoded image, turned as its orientation says (EXIF, else XMP); may be ``image`` itself.

    No other metadata is read, so that no other can fail; an unreadable orientation is ignored.
    Raises one of UNREADABLE where the pixels cannot be decoded.
    """
    with _as_os_error():
        if isinstance(image, TiffImagePlugin.TiffImageFile):
            # Pillow turns these while it decodes them, and reads all other tags at the same time.
            orientation = _orientation(image)
            _forget_tags(image)
            image.load()
        else:
            image = _loaded(image)
            orientation = _orientation(image)
        turn = _UPRIGHT.get(orientation)
        return image if turn is None else image.transpose(turn)


def jpeg_pixels(image: Image.Image) -> npt.NDArray[np.uint8] | None:
    """Return the pixels of an opened JPEG file that is RGB and upright, (H, W, 3), decoded by simplejpeg.

    They are those that Pillow decodes, by the same library in less time. None for all other images, for files that are broken
    in any way, and where simplejpeg is not installed: Pillow then decodes, or says what is wrong.
    """
    decode, file = _jpeg_decoder(), getattr(image, "fp", None)
    if decode is None or file is None or image.format != "JPEG" or image.mode != "RGB":
        return None
    if _orientation(image) in _UPRIGHT:
        return None
    try:
        file.seek(0)
        pixels = decode(file.read(), "RGB")
    except (OSError, ValueError):
        return None
    return pixels if pixels.shape[:2] == (image.height, image.width) else None


@cache
def _jpeg_decoder() -> Callable[[bytes, str], npt.NDArray[np.uint8]] | None:
    try:
        decoder: Callable[[bytes, str], npt.NDArray[np.uint8]] = import_module("simplejpeg").decode_jpeg
    except ImportError:
        return None
    return decoder


def _loaded(image: Image.Image) -> Image.Image:
    try:
        image.load()
    except OSError:
        raise
    except Exception:
        # A PNG may have text chunks after its pixels.
        file = getattr(image, "fp", None)
        plain = None if file is None or image.format != "PNG" else _plain(file)
        if plain is None:
            raise
        image = Image.open(plain)
        image.load()
    return image


def _orientation(image: Image.Image) -> int:
    # Pillow raises errors of many types for malformed metadata.
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
        return next((number for number in _UPRIGHT if number == orientation), 1)
    except Exception:
        return 1


def _forget_tags(image: Image.Image) -> None:
    exif = image.getexif()
    for tag in list(exif):
        del exif[tag]


def _plain(source: Path | IO[bytes]) -> io.BytesIO | None:
    """Return an image's file without metadata; None where it has none that can be removed, or cannot be read."""
    try:
        if isinstance(source, Path):
            with source.open("rb") as file:
                return _plain(file)
        source.seek(0)
        start = source.read(8)
        if not can_have_metadata(start):
            return None
        content = start + source.read()
        plain = without_metadata(content)
    except (OSError, ValueError):
        return None
    return io.BytesIO(plain) if len(plain) < len(content) else None


@contextmanager
def _as_os_error() -> Iterator[None]:
    """Turn errors of Pillow's readers that are not in UNREADABLE into an OSError; suppress warnings."""
    with _SILENCE:
        try:
            yield
        except (*UNREADABLE, MemoryError):
            raise
        except Exception as error:
            raise OSError(f"{type(error).__name__}: {error}") from error


class _Silence:
    """Suppresses warnings while any thread is in the block.

    Their filters belong to all threads: if each thread replaced and restored them, one could restore those of another.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._before = warnings.catch_warnings()
        if hasattr(os, "register_at_fork"):
            # A process must not be forked while another thread holds the lock: its copy would never be released.
            release = self._lock.release
            os.register_at_fork(before=self._lock.acquire, after_in_parent=release, after_in_child=release)

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._before = warnings.catch_warnings()
                self._before.__enter__()
                warnings.simplefilter("ignore")
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._before.__exit__(None, None, None)


_SILENCE = _Silence()
