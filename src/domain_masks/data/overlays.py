"""An image as the network sees it, with a class activation map over it."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

from domain_masks.data.preprocessing import Preprocessing

if TYPE_CHECKING:
    from torch import Tensor

SIDE = 160
"""Side of a drawn map in pixels."""
QUALITY = 82
_MOST_OPAQUE = 0.75


def pixels_of(preprocessing: Preprocessing, image: Image.Image) -> tuple[npt.NDArray[np.uint8], Tensor]:
    """Return an opened image as the network sees it: its pixels (S, S, 3), and normalised (1, 3, S, S)."""
    seen = preprocessing.load(image)
    return seen.numpy().transpose(1, 2, 0), preprocessing.normalize(seen[None])


def overlaid(pixels: npt.NDArray[np.uint8], heat: Tensor | None = None) -> Image.Image:
    """Return an image (S, S, 3) of ``SIDE`` pixels, with a map (S, S) over it, scaled by its own maximum.

    The image is grey under the map, which is the more opaque the larger its values.
    """
    small = Image.fromarray(np.ascontiguousarray(pixels))
    filter_of = Image.Resampling.NEAREST if max(small.size) <= SIDE // 2 else Image.Resampling.LANCZOS
    image = small.resize((SIDE, SIDE), filter_of)
    if heat is None:
        return image
    values = heat / heat.max().clamp_min(1e-12)
    scaled = Image.fromarray(values.numpy()).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    strength = np.asarray(scaled).clip(0, 1)[..., None]
    from matplotlib import colormaps  # noqa: PLC0415 - only where maps are drawn

    colours = colormaps["inferno"](strength[..., 0])[..., :3] * 255
    grey = np.asarray(image.convert("L"), dtype=np.float64)[..., None]
    mixed = grey + (colours - grey) * (_MOST_OPAQUE * strength)
    return Image.fromarray(mixed.round().clip(0, 255).astype(np.uint8))


def as_webp(image: Image.Image) -> bytes:
    """Return an image as a WebP file."""
    content = io.BytesIO()
    image.save(content, "WEBP", quality=QUALITY)
    return content.getvalue()
