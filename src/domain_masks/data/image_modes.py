"""Conversion of images of any mode to RGB: transparency, and values of more than 8 bits."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from domain_masks.data.image_files import upright

_DEEP_MODES = ("I", "F")
_SIXTEEN_BITS = 65535


def to_rgb(image: Image.Image, value_range: tuple[float, float] | None = None) -> Image.Image:
    """Return an upright RGB image of any other: transparent parts on white, deep grey scaled to 8 bits.

    The orientation that a camera noted (EXIF) is applied. 16-bit modes span 0..65535. Modes I and F store no range: it
    is the smallest of 0..1 (F only), 0..255, 0..65535 and 0..largest value that holds all values; negative ones become
    black. With ``value_range`` all of these are scaled from it instead, and values outside become black or white:
    images that hold 12 of 16 bits would else have 17 of 256 levels. Raises what Pillow raises where the file cannot be
    decoded.
    """
    image = upright(image)
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if is_deep(image):
        return _eight_bits(image, value_range).convert("RGB")
    if image.has_transparency_data or image.mode in ("La", "RGBa"):
        with_alpha = image.convert("LA").convert("RGBA") if image.mode == "La" else image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, with_alpha).convert("RGB")
    return image.convert("RGB")


def is_deep(image: Image.Image) -> bool:
    """Return whether the values of an image may need more than 8 bits."""
    return image.mode in _DEEP_MODES or image.mode.startswith("I;")


def values_of(image: Image.Image) -> npt.NDArray[np.float64]:
    """Return the values of a deep image, with 0 in place of values that are not finite."""
    return np.nan_to_num(np.asarray(image, dtype=np.float64), nan=0.0, posinf=0.0, neginf=0.0)


def assumed_white(mode: str, largest: float) -> float:
    """Return the value that is white in a deep image of this mode where no range is given; black is 0."""
    if mode.startswith("I;"):
        return float(_SIXTEEN_BITS)
    ranges = (1.0, 255.0, float(_SIXTEEN_BITS)) if mode == "F" else (255.0, float(_SIXTEEN_BITS))
    return next((candidate for candidate in ranges if largest <= candidate), largest)


def range_holding(lowest: float, largest: float) -> tuple[float, float]:
    """Return the smallest usual range that contains the values: 0 to 1, or 8, 10, 12, 14 or 16 bits; else their own."""
    if lowest < 0 or largest > _SIXTEEN_BITS:
        return min(lowest, 0.0), largest
    return 0.0, next(top for top in (1.0, 255.0, 1023.0, 4095.0, 16383.0, float(_SIXTEEN_BITS)) if largest <= top)


def _eight_bits(image: Image.Image, value_range: tuple[float, float] | None) -> Image.Image:
    values = values_of(image)
    low, high = value_range or (0.0, assumed_white(image.mode, float(values.max(initial=0.0))))
    return Image.fromarray(np.rint(np.clip((values - low) / (high - low), 0.0, 1.0) * 255).astype(np.uint8))
