"""Images on which an exported file is compared with its model: of the run's dataset, of files, or generated ones."""

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
    - ``prepared``: (3, size, size), uint8, as the model sees it
    """

    raw: Tensor
    prepared: Tensor

    @classmethod
    def of(cls, image: Image.Image, preprocessing: Preprocessing) -> ParityImage:
        """Decode an image whole."""
        rgb = to_rgb(image, preprocessing.value_range)
        raw = torch.from_numpy(np.asarray(rgb).transpose(2, 0, 1).copy()).unsqueeze(0)
        # Made anew: a JPEG could otherwise be decoded at a smaller scale.
        return cls(raw, preprocessing.load(Image.fromarray(np.asarray(rgb))))


@dataclass(frozen=True)
class ParityImages:
    """Images to compare a file with its model on, and where they come from."""

    images: tuple[ParityImage, ...]
    origin: str


def images_of_files(paths: Sequence[str | Path], preprocessing: Preprocessing) -> ParityImages:
    """Open image files; raises InputError that names the first that is none."""
    found = []
    for path in paths:
        try:
            with open_image_file(Path(path)) as image:
                found.append(ParityImage.of(image, preprocessing))
        except UNREADABLE as error:
            raise InputError(
                f"image {str(path)!r} cannot be read ({type(error).__name__}: {error}): expected image files to compare on"
            ) from error
    return ParityImages(tuple(found), "the images given")


def images_of_run(data: RunData, preprocessing: Preprocessing) -> ParityImages:
    """Take images from all over the held-out ones, or the validation ones where no domain was held out."""
    splits = data.splits
    subset = spread(splits.held_out if len(splits.held_out) else splits.validation, COUNT)
    return ParityImages(
        tuple(_readable(subset.dataset, subset.indices.tolist(), preprocessing)),
        f"{splits.dataset.name}: {', '.join(splits.targets or splits.sources)}",
    )


def _readable(dataset: ImageDataset, rows: Sequence[int], preprocessing: Preprocessing) -> list[ParityImage]:
    found = []
    for row in rows:
        try:
            with dataset.open_image(row) as image:
                found.append(ParityImage.of(image, preprocessing))
        except UNREADABLE:
            continue  # left out of the run as well, or it would not be there
    return found


def generated_images(preprocessing: Preprocessing) -> ParityImages:
    """Make images of several sizes from smooth random colours."""
    random = np.random.default_rng(0)
    found = []
    for index in range(COUNT):
        wide, high = (max(1, round(part * preprocessing.size)) for part in _GENERATED_SIZES[index % 4])
        coarse = Image.fromarray(random.integers(0, 256, (5, 7, 3), dtype=np.uint8))
        found.append(ParityImage.of(coarse.resize((wide, high), Image.Resampling.BICUBIC), preprocessing))
    return ParityImages(tuple(found), "generated images, since no real ones were found")
