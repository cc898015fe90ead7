"""Real images for a model: those of its own run's dataset, files, or generated ones where there are none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from domain_masks.data import DomainSplits, ImageDataset, Preprocessing, Subset, load_dataset, split_domains, to_rgb
from domain_masks.data.image_files import UNREADABLE, open_image_file
from domain_masks.data.label_alignment import aligned
from domain_masks.errors import InputError
from domain_masks.records.config import RunConfig, parse_config, read_config
from domain_masks.records.model_card import ModelCard
from domain_masks.records.run_folder import RunFolder

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


@dataclass(frozen=True)
class RunData:
    """The dataset that a model was trained on, divided as it was then.

    ``config`` has nothing but defaults where the run's own is not there; then the validation images are not known.
    """

    splits: DomainSplits
    config: RunConfig
    is_own: bool


def preprocessing_of(card: ModelCard) -> Preprocessing:
    """Return how a model's images are prepared; raises InputError where its card does not say."""
    if not isinstance(card.preprocessing, dict):
        raise InputError("model.json says no preprocessing: expected size, resize and square; write the model anew")
    return Preprocessing.from_dict(card.preprocessing)


def run_data(folder: Path, card: ModelCard, changes: Mapping[str, Any]) -> RunData | None:
    """Open the dataset of the run in ``folder``; None where neither its config nor ``changes`` name one.

    - ``changes``: settings ``dataset`` and ``root`` that differ from the run's own

    Raises InputError where the dataset cannot be opened, or has other classes or domains than the model.
    """
    own = RunFolder(folder).config
    if not own.is_file() and "dataset" not in changes:
        return None
    is_own = own.is_file()
    config = parse_config({**(read_config(own) if is_own else {}), **changes})
    dataset = load_dataset(config.dataset, config.root)
    domains = [*card.sources, *card.targets]
    others = [name for name in dataset.domains if name not in domains]
    dataset = aligned(dataset, card.classes, [*domains, *others], "the model")
    splits = split_domains(dataset, tuple(card.targets), config.split_seed, fewest_sources=1)
    return RunData(splits, config, is_own)


def spread(subset: Subset, most: int | None) -> Subset:
    """Return at most ``most`` images of a subset, spread evenly over it; None for all."""
    if most is None or len(subset) <= most:
        return subset
    chosen = np.linspace(0, len(subset) - 1, most).round().astype(np.int64)
    return Subset(subset.dataset, subset.indices[chosen])


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
