"""The images on which an exported file is compared with its model: from the run's dataset, files, or generated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from domain_masks.data import ImageDataset, Preprocessing, to_rgb
from domain_masks.data.image_files import UNREADABLE, open_image_file
from domain_masks.deploy.run_data import RunData, spread
from domain_masks.errors import InputError

COUNT = 12
_GENERATED_SIZES = ((0.6, 0.9), (1.0, 1.0), (1.7, 1.2), (2.3, 3.1))


@dataclass(frozen=True)
class ParityImage:
    """A decoded image.

    - ``raw``: RGB bytes (1, 3, H, W)
    - ``prepared``: (3, size, size), uint8, after preprocessing
    """

    raw: Tensor
    prepared: Tensor

    @classmethod
    def of(cls, image: Image.Image, preprocessing: Preprocessing) -> ParityImage:
        """Decode an image at full size."""
        rgb = to_rgb(image, preprocessing.value_range)
        raw = torch.from_numpy(np.asarray(rgb).transpose(2, 0, 1).copy()).unsqueeze(0)
        # Preprocess a copy: the JPEG itself would be decoded at a reduced size.
        return cls(raw, preprocessing.load(Image.fromarray(np.asarray(rgb))))


@dataclass(frozen=True)
class ParityImages:
    """Images to compare a file with its model on; ``origin`` says where they come from."""

    images: tuple[ParityImage, ...]
    origin: str


def images_of_files(paths: Sequence[str | Path], preprocessing: Preprocessing) -> ParityImages:
    """Open image files; raises InputError naming the first that cannot be read."""
    images = []
    for path in paths:
        try:
            with open_image_file(Path(path)) as image:
                images.append(ParityImage.of(image, preprocessing))
        except UNREADABLE as error:
            raise InputError(
                f"image {str(path)!r} cannot be read ({type(error).__name__}: {error}): expected image files to compare on"
            ) from error
    return ParityImages(tuple(images), "the images given")


def images_of_run(data: RunData, preprocessing: Preprocessing) -> ParityImages:
    """Return evenly spaced held-out images, or validation images if no domain was held out."""
    splits = data.splits
    subset = spread(splits.held_out if len(splits.held_out) else splits.validation, COUNT)
    return ParityImages(
        tuple(_readable(subset.dataset, subset.indices.tolist(), preprocessing)),
        f"{splits.dataset.name}: {', '.join(splits.targets or splits.sources)}",
    )


def _readable(dataset: ImageDataset, rows: Sequence[int], preprocessing: Preprocessing) -> list[ParityImage]:
    images = []
    for row in rows:
        try:
            with dataset.open_image(row) as image:
                images.append(ParityImage.of(image, preprocessing))
        except UNREADABLE:
            continue  # the run skipped it too
    return images


def generated_images(preprocessing: Preprocessing) -> ParityImages:
    """Return images of several sizes with smooth random colours."""
    random = np.random.default_rng(0)
    images = []
    for index in range(COUNT):
        width, height = (max(1, round(part * preprocessing.size)) for part in _GENERATED_SIZES[index % 4])
        coarse = Image.fromarray(random.integers(0, 256, (5, 7, 3), dtype=np.uint8))
        images.append(ParityImage.of(coarse.resize((width, height), Image.Resampling.BICUBIC), preprocessing))
    return ParityImages(tuple(images), "generated images, since no real ones were found")
