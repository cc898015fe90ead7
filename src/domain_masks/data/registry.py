"""The datasets that have a name, and the one way to open any dataset."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from domain_masks.data.dataset import ImageDataset
from domain_masks.data.digits import load_digits_dataset
from domain_masks.data.folders import load_folder
from domain_masks.data.pacs import load_pacs
from domain_masks.data.preprocessing import Preprocessing
from domain_masks.errors import InputError, unknown

ROOT_VARIABLE = "DMG_DATA"


@dataclass(frozen=True)
class DatasetRecord:
    """What is known about a dataset before it is opened.

    - ``summary``: one line for lists
    - ``load``: opens it, given its folder or its parent (None where ``needs_root`` is false)
    - ``size``: side of the pictures that the network sees by default, in pixels
    - ``square``: whether pictures are resized whole, ignoring their aspect ratio, instead of cut from the centre
    - ``augmentation``: the usual one, a name in AUGMENTATIONS
    - ``held_out``: the domain held out by default; None: it has to be chosen
    - ``colours``: what to know about the colours of its domains
    - ``training_size``: see :class:`Preprocessing`
    """

    summary: str
    load: Callable[[Path | None], ImageDataset]
    needs_root: bool
    size: int
    square: bool
    augmentation: str
    held_out: str | None = None
    colours: str = ""
    training_size: int | None = None


def _load_digits(root: Path | None) -> ImageDataset:
    return load_digits_dataset()


def _load_pacs(root: Path | None) -> ImageDataset:
    if root is None:
        raise InputError(
            f"dataset 'pacs' needs a folder: give its root, or set ${ROOT_VARIABLE} to its folder or parent"
        )
    return load_pacs(root)


DATASETS: dict[str, DatasetRecord] = {
    "pacs": DatasetRecord(
        summary="7 classes, 4 domains (art_painting, cartoon, photo, sketch), 9,991 pictures, official train/val lists",
        load=_load_pacs,
        needs_root=True,
        size=224,
        square=True,
        augmentation="pacs",
        colours="sketches are grey, the other domains are in colour",
    ),
    "digits": DatasetRecord(
        summary="10 classes, 4 domains (ink, paper, outline, mosaic), 1,797 handwritten digits; nothing to download",
        load=_load_digits,
        needs_root=False,
        size=32,
        square=True,
        augmentation="digits",
        held_out="mosaic",
        colours="ink is grey, the other domains have random colours",
        training_size=32,
    ),
}

FOLDER = DatasetRecord(
    summary="any folder domain/class/picture",
    load=lambda root: load_folder(root or "."),
    needs_root=True,
    size=224,
    square=False,
    augmentation="domainnet",
)


def load_dataset(name_or_directory: str | Path, root: str | Path | None = None) -> ImageDataset:
    """Open a dataset by its name in DATASETS, or any folder ``domain/class/picture`` by its path.

    ``root`` is where a named dataset lies: its folder or the parent of its folder; by default the environment variable
    DMG_DATA. Raises InputError for an unknown name, a missing root, and what the dataset's own loader finds wrong.
    """
    name = str(name_or_directory)
    if name in DATASETS:
        record = DATASETS[name]
        where = root if root is not None else os.environ.get(ROOT_VARIABLE) or None
        return record.load(Path(where) if where is not None and record.needs_root else None)
    if Path(name).exists() or Path(name).name != name:
        return load_folder(name)
    raise InputError(
        f"{unknown('dataset', name, DATASETS)} Or give the path of a folder with domain/class/picture files."
    )


def record_of(dataset: ImageDataset) -> DatasetRecord:
    """Return what is known about an opened dataset: its own record, or that of any folder."""
    return DATASETS.get(dataset.name, FOLDER)


def default_preprocessing(dataset: ImageDataset, size: int | None = None) -> Preprocessing:
    """Return the usual preprocessing of ``dataset``, at another ``size`` in pixels if one is given.

    Whole squares where the dataset's record says so, otherwise the central 224/256 of the shorter side.
    """
    record = record_of(dataset)
    side = record.size if size is None else size
    training_size = None if record.training_size is None else round(side * record.training_size / record.size)
    return Preprocessing(
        size=side,
        resize=side if record.square else round(side * 256 / 224),
        square=record.square,
        training_size=training_size,
    )
