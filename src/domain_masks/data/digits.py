"""The digits dataset: 1,797 real handwritten digits that come with scikit-learn, in four domains of different style.

Nothing is downloaded. Every one of the original 8x8 images (grey values 0..16) is in exactly one domain: each class
is shuffled by a fixed key and dealt out to the four domains in turn, so that no digit is seen in two styles. A digit is
enlarged to 32x32 pixels by cubic interpolation, which gives the strength of the stroke at every pixel, 0..1, and is
then drawn in the style of its domain, deterministically:

- ``ink``: white on black, smooth, as in the original.
- ``paper``: rotated by up to 20 degrees and sheared by up to 0.3; a dark stroke of a random hue on bright, tinted paper
  with slow shading and fine grain.
- ``outline``: drawn at 0.8 of the size and moved by up to 2 pixels; only the contour of the stroke, thin, in a random
  colour on a flat background of another colour, which is darker in half of the images and brighter in the others.
- ``mosaic``: digit and background are two textures of coloured patches (8x8 over the whole image for the digit, 4x4
  and 8x8 for the background), each around a random colour of its own; the digit is the darker one in 94 % of the
  images.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from domain_masks.data.dataset import ImageDataset, fingerprint_of
from domain_masks.randomness import key
from domain_masks.sampling import keyed_permutation

FloatArray = npt.NDArray[np.float64]

SIZE = 32
_SEED = 0


@dataclass(frozen=True)
class ArrayOpener:
    """Opens a row of an array of images, uint8 (N, H, W, 3)."""

    pixels: npt.NDArray[np.uint8]
    in_memory: ClassVar[bool] = True

    def __call__(self, row: int) -> Image.Image:
        """Return the image of ``row``."""
        return Image.fromarray(self.pixels[row])


@cache
def load_digits_dataset() -> ImageDataset:
    """Return the digits dataset, rendered once per process: 10 classes, 4 domains, 1,797 images of 32x32 pixels.

    See the module's description for how each domain is drawn. It brings no official splits.
    """
    grids, digits = originals()
    strokes = grids / 16
    domain_of = _dealt_out(digits)
    names = tuple(STYLES)
    pixels, ids, labels, domains = [], [], [], []
    for index, name in enumerate(names):
        rows = np.flatnonzero(domain_of == index)
        rows = rows[np.argsort(digits[rows], kind="stable")]
        random = np.random.Generator(np.random.PCG64(key(_SEED, f"digits/{name}")))
        drawn = STYLES[name](np.clip(_resized(strokes[rows], Image.Resampling.BICUBIC), 0.0, 1.0), random)
        pixels.append(np.rint(np.clip(drawn, 0.0, 1.0) * 255).astype(np.uint8))
        ids += [f"{name}/{digits[row]}/{row:04d}.png" for row in rows]
        labels.append(digits[rows])
        domains.append(np.full(len(rows), index, dtype=np.int64))
    images = np.concatenate(pixels)
    label_column, domain_column = np.concatenate(labels), np.concatenate(domains)
    classes = tuple(str(digit) for digit in range(10))
    return ImageDataset(
        name="digits",
        classes=classes,
        domains=names,
        ids=tuple(ids),
        labels=label_column,
        domain_indices=domain_column,
        splits=None,
        open_image=ArrayOpener(images),
        fingerprint=fingerprint_of([("digits",), classes, names, ids], [label_column, domain_column], images.tobytes()),
    )


def originals() -> tuple[FloatArray, npt.NDArray[np.int64]]:
    """Return scikit-learn's digits: grey values 0..16, (N, 8, 8), and the digits that they show, (N,)."""
    found = find_spec("sklearn")
    folders = () if found is None else found.submodule_search_locations or ()
    files = [file for folder in folders if (file := Path(folder, "datasets", "data", "digits.csv.gz")).is_file()]
    if files:
        # Importing sklearn.datasets for it takes as long as importing torch.
        with gzip.open(files[0], "rt", encoding="utf-8") as lines:
            rows = np.loadtxt(lines, delimiter=",")
        return rows[:, :-1].reshape(-1, 8, 8), rows[:, -1].astype(np.int64)

    from sklearn.datasets import load_digits  # noqa: PLC0415

    bundle = load_digits()
    return bundle.images.astype(np.float64), bundle.target.astype(np.int64)


def _dealt_out(labels: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the domain of every original digit; a class starts with the domain at which the previous class ended."""
    domain_of = np.empty(len(labels), dtype=np.int64)
    start = 0
    for digit in range(10):
        rows = np.flatnonzero(labels == digit)
        shuffled = rows[keyed_permutation(len(rows), _SEED, f"digits/{digit}")]
        domain_of[shuffled] = (start + np.arange(len(rows))) % len(STYLES)
        start += len(rows)
    return domain_of


def _resized(grid: FloatArray, method: Image.Resampling) -> FloatArray:
    """Return grids (N, h, w) as (N, SIZE, SIZE)."""
    images = [Image.fromarray(values.astype(np.float32)).resize((SIZE, SIZE), method) for values in grid]
    return np.stack([np.asarray(image, dtype=np.float64) for image in images])


def _moved(stroke: FloatArray, matrix: FloatArray, shift: FloatArray) -> FloatArray:
    """Return one stroke (SIZE, SIZE) under the inverse of ``matrix`` about the centre, moved by ``shift`` (x, y)."""
    centre = np.full(2, SIZE / 2)
    offset = centre - matrix @ (centre + shift)
    rows = (*matrix[0].tolist(), float(offset[0]), *matrix[1].tolist(), float(offset[1]))
    image = Image.fromarray(stroke.astype(np.float32))
    moved = image.transform((SIZE, SIZE), Image.Transform.AFFINE, rows, Image.Resampling.BILINEAR)
    return np.asarray(moved, dtype=np.float64)


def _colours(hue: FloatArray, saturation: FloatArray, value: FloatArray) -> FloatArray:
    """Return RGB in [0, 1], (..., 3), of hue, saturation and value in [0, 1], each (...)."""
    sector = (np.array([5.0, 3.0, 1.0]) + 6 * hue[..., None]) % 6
    wave = np.clip(np.minimum(sector, 4 - sector), 0.0, 1.0)
    colours: FloatArray = value[..., None] * (1 - saturation[..., None] * wave)
    return colours


def _blended(front: FloatArray, back: FloatArray, strength: FloatArray) -> FloatArray:
    return back + strength[..., None] * (front - back)


def _patches(random: np.random.Generator, count: int, cells: int, channels: int) -> FloatArray:
    """Return (count, SIZE, SIZE, channels) of flat square patches, uniform in [-1, 1]."""
    grid = random.random((count, cells, cells, channels)) * 2 - 1
    return grid.repeat(SIZE // cells, axis=1).repeat(SIZE // cells, axis=2)


def _ink(strokes: FloatArray, random: np.random.Generator) -> FloatArray:
    return np.repeat(strokes[..., None], 3, axis=-1)


def _paper(strokes: FloatArray, random: np.random.Generator) -> FloatArray:
    count = len(strokes)
    turned = np.empty_like(strokes)
    angles = np.deg2rad(random.uniform(-20, 20, count))
    shears = random.uniform(-0.3, 0.3, count)
    for row in range(count):
        cosine, sine = np.cos(angles[row]), np.sin(angles[row])
        matrix = np.array([[cosine, -sine], [sine, cosine]]) @ np.array([[1.0, 0.0], [shears[row], 1.0]])
        turned[row] = _moved(strokes[row], matrix, np.zeros(2))
    hue = random.random(count)
    dark = _colours(random.random(count), np.full(count, 0.7), random.uniform(0.15, 0.45, count))
    bright = _colours(hue, random.uniform(0.1, 0.35, count), random.uniform(0.8, 1.0, count))
    shading = _resized(random.uniform(-0.2, 0.2, (count, 4, 4)), Image.Resampling.BILINEAR)
    grain = random.normal(0.0, 0.06, (count, SIZE, SIZE, 1))
    paper = bright[:, None, None] + shading[..., None]
    return _blended(dark[:, None, None], paper, np.sqrt(turned)) + grain


def _outline(strokes: FloatArray, random: np.random.Generator) -> FloatArray:
    count = len(strokes)
    inside = np.stack([_moved(stroke, np.eye(2) / 0.8, random.uniform(-2, 2, 2)) for stroke in strokes]) > 0.45
    edged = np.pad(inside, ((0, 0), (1, 1), (1, 1)))
    core = inside & edged[:, 2:, 1:-1] & edged[:, :-2, 1:-1] & edged[:, 1:-1, 2:] & edged[:, 1:-1, :-2]
    contour = np.pad((inside & ~core).astype(np.float64), ((0, 0), (1, 1), (1, 1)))
    beside = contour[:, 2:, 1:-1] + contour[:, :-2, 1:-1] + contour[:, 1:-1, 2:] + contour[:, 1:-1, :-2]
    soft = np.clip(contour[:, 1:-1, 1:-1] + 0.1 * beside, 0.0, 1.0)
    brighter = random.random(count) < 0.5
    low, high = random.uniform(0.1, 0.35, count), random.uniform(0.75, 1.0, count)
    hue = random.random(count)
    line = _colours(hue, random.uniform(0.3, 0.9, count), np.where(brighter, high, low))
    flat = _colours(
        hue + random.uniform(0.25, 0.75, count), random.uniform(0.3, 0.9, count), np.where(brighter, low, high)
    )
    return _blended(line[:, None, None], np.broadcast_to(flat[:, None, None], (count, SIZE, SIZE, 3)), soft)


def _mosaic(strokes: FloatArray, random: np.random.Generator) -> FloatArray:
    count = len(strokes)
    hue = random.random(count)
    brighter = random.random(count) < 0.06
    low, high = random.uniform(0.25, 0.4, count), random.uniform(0.7, 0.85, count)
    saturation = random.uniform(0.4, 0.9, count)
    digit = _colours(hue, saturation, np.where(brighter, high, low))
    ground = _colours(hue + random.uniform(0.3, 0.7, count), saturation, np.where(brighter, low, high))
    front = digit[:, None, None] + 0.2 * _patches(random, count, 8, 3)
    back = ground[:, None, None] + 0.25 * _patches(random, count, 4, 3) + 0.1 * _patches(random, count, 8, 3)
    return _blended(front, back, np.clip(strokes * 2 - 0.4, 0.0, 1.0))


STYLES: dict[str, Callable[[FloatArray, np.random.Generator], FloatArray]] = {
    "ink": _ink,
    "paper": _paper,
    "outline": _outline,
    "mosaic": _mosaic,
}
