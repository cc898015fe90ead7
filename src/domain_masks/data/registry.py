"""The registry of named datasets, and the function that opens any dataset.

Loaders are imported when a dataset is opened: lists and help of commands need only the names, without numpy.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from domain_masks.errors import InputError, unknown
from domain_masks.keywords import named_keywords
from domain_masks.records.files import is_there

if TYPE_CHECKING:
    from domain_masks.data.dataset import ImageDataset
    from domain_masks.data.preprocessing import Preprocessing

ROOT_VARIABLE = "DMG_DATA"
AUGMENTATION_NAMES = ("standard", "pacs", "digits", "none")
"""The augmentations of this package, whose module needs torch."""


@dataclass(frozen=True)
class DatasetRecord:
    """The record of a dataset before it is opened.

    - ``summary``: one line for lists
    - ``load``: opens it from its folder or its parent (None where ``needs_root`` is false)
    - ``size``: default side of the network's input images, in pixels
    - ``square``: whether images are resized whole, ignoring their aspect ratio, instead of cut from the centre
    - ``augmentation``: the default one, a name in AUGMENTATIONS
    - ``held_out``: the domain held out by default; None: it must be chosen
    - ``colours``: a remark on the colours of its domains
    - ``training_size``: see :class:`Preprocessing`
    - ``domains``: names of its domains, in order; empty where they are known only when it is opened
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
    domains: tuple[str, ...] = ()


def _load_pacs(root: Path) -> ImageDataset:
    from domain_masks.data.pacs import load_pacs  # noqa: PLC0415

    return load_pacs(root)


def _load_domainnet(root: Path) -> ImageDataset:
    from domain_masks.data.domainnet import load_domainnet  # noqa: PLC0415

    return load_domainnet(root)


def _load_published(name: str, root: Path) -> ImageDataset:
    from domain_masks.data.published_datasets import load_published  # noqa: PLC0415

    return load_published(name, root)


def _load_digits(_root: Path | None) -> ImageDataset:
    from domain_masks.data.digits import load_digits_dataset  # noqa: PLC0415

    return load_digits_dataset()


def _load_folder(root: Path | None) -> ImageDataset:
    from domain_masks.data.folders import load_folder  # noqa: PLC0415

    return load_folder(root or ".")


def _at_root(name: str, load: Callable[[Path], ImageDataset]) -> Callable[[Path | None], ImageDataset]:
    def loaded(root: Path | None) -> ImageDataset:
        if root is None:
            raise InputError(
                f"dataset {name!r} needs a folder: give its root, or set ${ROOT_VARIABLE} to its folder or parent"
            )
        return load(root)

    return loaded


def _published(name: str, classes: int, domains: tuple[str, ...], images: str, colours: str = "") -> DatasetRecord:
    """Return the record of a dataset in PUBLISHED: squares of 224 pixels as in DomainBed, augmented like PACS."""
    return DatasetRecord(
        summary=f"{classes} classes, {len(domains)} domains ({', '.join(domains)}), {images}",
        load=_at_root(name, partial(_load_published, name)),
        needs_root=True,
        size=224,
        square=True,
        augmentation="pacs",
        colours=colours,
        domains=domains,
    )


DATASETS: dict[str, DatasetRecord] = {
    "pacs": DatasetRecord(
        summary="7 classes, 4 domains (art_painting, cartoon, photo, sketch), 9,991 images, official train/val lists",
        load=_at_root("pacs", _load_pacs),
        needs_root=True,
        size=224,
        square=True,
        augmentation="pacs",
        colours="sketches are grey, the other domains are in colour",
        domains=("art_painting", "cartoon", "photo", "sketch"),
    ),
    "domainnet": DatasetRecord(
        summary="345 classes, 6 domains (clipart, infograph, painting, quickdraw, real, sketch), about 586,600 images, "
        "official train/test lists",
        load=_at_root("domainnet", _load_domainnet),
        needs_root=True,
        size=224,
        square=True,
        augmentation="standard",
        colours="quickdraw is black on white, many sketches are grey, the other domains are in colour",
        domains=("clipart", "infograph", "painting", "quickdraw", "real", "sketch"),
    ),
    "office_home": _published("office_home", 65, ("Art", "Clipart", "Product", "Real World"), "about 15,500 images"),
    "vlcs": _published("vlcs", 5, ("Caltech101", "LabelMe", "SUN09", "VOC2007"), "10,729 images"),
    "terra_incognita": _published(
        "terra_incognita",
        10,
        ("location_38", "location_43", "location_46", "location_100"),
        "about 24,000 images of camera traps",
        "images taken at night are grey, in all domains",
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
        domains=("ink", "paper", "outline", "mosaic"),
    ),
}


def augmentation_names() -> tuple[str, ...]:
    """Return the augmentations of this package, and those that users have registered."""
    loaded = sys.modules.get("domain_masks.data.augmentation")
    return AUGMENTATION_NAMES if loaded is None else tuple(loaded.AUGMENTATIONS)


FOLDER = DatasetRecord(
    summary="any folder domain/class/image, manifest or Hugging Face dataset",
    load=_load_folder,
    needs_root=True,
    size=224,
    square=False,
    augmentation="standard",
)


@named_keywords
def load_dataset(name_or_path: str | Path, root: str | Path | None = None) -> ImageDataset:
    """Open a dataset by its name in DATASETS, a folder ``domain/class/image`` or a manifest by path, or ``hf:NAME``.

    ``root`` is where a named dataset lies, its folder or the parent of its folder, by default the environment variable
    DMG_DATA; and the base of a manifest's paths, by default the manifest's folder. Raises InputError for
    an unknown name, a missing root, and errors of the dataset's loader.
    """
    name = str(name_or_path)
    if name in DATASETS:
        record = DATASETS[name]
        where = root if root is not None else os.environ.get(ROOT_VARIABLE) or None
        return record.load(Path(where) if where is not None and record.needs_root else None)

    from domain_masks.data.folders import load_folder  # noqa: PLC0415
    from domain_masks.data.huggingface import PREFIX, load_huggingface  # noqa: PLC0415
    from domain_masks.data.manifest import EXTENSIONS, is_manifest, load_manifest  # noqa: PLC0415

    if name.startswith(PREFIX):
        return _noted(load_huggingface(name))
    if is_manifest(name):
        return _noted(_own_name(load_manifest(name, root)))
    if is_there(name) or Path(name).name != name:
        return _noted(_own_name(load_folder(name)))
    raise InputError(
        f"{unknown('dataset', name, DATASETS)} Or give the path of a folder with domain/class/image files, or of a "
        f"manifest ({', '.join(EXTENSIONS)}), or {PREFIX}NAME for a Hugging Face dataset."
    )


def _own_name(dataset: ImageDataset) -> ImageDataset:
    """Return a folder's dataset under another name if it has the name of a known dataset."""
    return replace(dataset, name=f"{dataset.name}-folder") if dataset.name in DATASETS else dataset


def _noted(dataset: ImageDataset) -> ImageDataset:
    """Add a note about names that look alike."""
    from domain_masks.data.similar_names import name_notes  # noqa: PLC0415

    notes = name_notes(dataset.classes, dataset.domains)
    return replace(dataset, notes=(*dataset.notes, *notes)) if notes else dataset


def record_of(dataset: ImageDataset) -> DatasetRecord:
    """Return the record of an opened dataset: its own, or the general one."""
    return DATASETS.get(dataset.name, FOLDER)


def default_preprocessing(dataset: ImageDataset, size: int | None = None) -> Preprocessing:
    """Return the default preprocessing of ``dataset``, optionally at another ``size`` in pixels.

    Whole squares where the dataset's record says so, otherwise the central 224/256 of the shorter side.
    """
    from domain_masks.data.preprocessing import Preprocessing  # noqa: PLC0415

    record = record_of(dataset)
    side = record.size if size is None else size
    training_size = None if record.training_size is None else round(side * record.training_size / record.size)
    return Preprocessing(
        size=side,
        resize=side if record.square else round(side * 256 / 224),
        square=record.square,
        training_size=training_size,
    )
