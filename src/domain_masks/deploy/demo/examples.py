"""Images that the page offers: given ones, else held-out ones of the run's dataset, else digits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from domain_masks.data import DATASETS, ImageDataset, Subset, load_dataset, split_domains
from domain_masks.data.openers import FileOpener
from domain_masks.deploy.demo.answers import image_of
from domain_masks.deploy.predicting.image_inputs import ImageInput
from domain_masks.deploy.predicting.image_paths import Unreadable, find_images
from domain_masks.errors import DomainMasksError, InputError
from domain_masks.records.config import parse_config, read_config

if TYPE_CHECKING:
    from domain_masks.deploy.predicting.model import Model

MOST = 12
_TRIES = 3
_NOTED = 20
_LOOKED_AT = 10_000
_CONFIG = "config.yaml"


@dataclass(frozen=True)
class Example:
    """An image that the page offers.

    - ``name``: what to call it
    - ``label``: its true class, where that is known and one of the model's
    - ``open``: gives the image anew each time, as :func:`~domain_masks.deploy.predicting.image_inputs.open_input` takes it
    """

    name: str
    label: str | None
    open: Callable[[], ImageInput]


@dataclass(frozen=True)
class Examples:
    """What the page offers; ``title`` says where the images are from, ``notes`` what went wrong on the way."""

    title: str
    images: tuple[Example, ...]
    notes: tuple[str, ...] = ()


def find_examples(
    model: Model, places: Sequence[str] = (), folder: Path | None = None, root: Path | None = None
) -> Examples:
    """Return up to 12 images to offer.

    - ``places``: files, folders and patterns; without any, images of the run's dataset that were held out
    - ``folder``: the model's folder, whose ``config.yaml`` says where the dataset lies
    - ``root``: where it lies instead

    Where the dataset is not found, the embedded digits stand in, and a note says why. Raises InputError where ``places``
    have no image that can be read, and where ``root`` is given and the dataset is not there.
    """
    if places:
        return _given(places)
    try:
        return _held_out(model, folder, root)
    except DomainMasksError as error:
        if root is not None:
            raise
        reason = str(error).splitlines()[0]
        note = f"no images of the run's dataset as examples, digits instead: {reason}; give --root or --examples"
    dataset = load_dataset("digits")
    return _of(model, "Digits, of which the model knows nothing", Subset(dataset, np.arange(len(dataset))), (note,))


def _given(places: Sequence[str]) -> Examples:
    items = list(islice(find_images(places), _LOOKED_AT))
    step = -(-len(items) // MOST)
    found: dict[int, Example] = {}
    notes: list[str] = []
    # Some from everywhere, not the first twelve; others stand in for what cannot be read.
    for row in (row for start in range(step) for row in range(start, len(items), step)):
        item = items[row]
        if isinstance(item, Unreadable):
            notes.append(f"{item.name!r}: {item.reason}")
            continue
        example = Example(Path(item).name, None, partial(Path, item))
        try:
            image_of(example.open, item)
            found[row] = example
        except InputError as error:
            notes.append(str(error))
        if len(found) == MOST or len(notes) == _NOTED:
            break
    if not found:
        raise InputError(f"examples: no image that can be read: {'; '.join(notes)}")
    return Examples(
        "Your examples", tuple(found[row] for row in sorted(found)), tuple(f"no example: {note}" for note in notes)
    )


def _held_out(model: Model, folder: Path | None, root: Path | None) -> Examples:
    values: dict[str, Any] = {"dataset": model.card.dataset}
    if folder is not None and (folder / _CONFIG).is_file():
        values = read_config(folder / _CONFIG)
    elif values["dataset"] not in DATASETS:
        raise InputError(f"there is no {_CONFIG} beside the model that would say where they are")
    if root is not None:
        values["root"] = str(root)
    config = parse_config(values)
    dataset = load_dataset(config.dataset, config.root)
    strange = [name for name in model.targets if name not in dataset.domains]
    if strange:
        raise InputError(f"dataset {config.dataset!r} has no domain {strange[0]!r}, which was held out")
    splits = split_domains(dataset, model.targets, config.split_seed, fewest_sources=1)
    if model.targets:
        return _of(model, f"Images of the held-out {' and '.join(model.targets)}", splits.held_out)
    return _of(model, "Images that were not trained on", splits.test or splits.validation)


def _of(model: Model, title: str, subset: Subset, notes: tuple[str, ...] = ()) -> Examples:
    """Return images of all classes in turn, the same each time; one that cannot be read is replaced by the next."""
    found = []
    for candidates in _by_turns(subset):
        for row in candidates:
            example = _example(model, subset.dataset, row)
            try:
                image_of(example.open, example.name)
            except InputError:
                continue
            found.append(example)
            break
        if len(found) == MOST:
            break
    return Examples(title, tuple(found), notes)


def _by_turns(subset: Subset) -> list[list[int]]:
    """Return a few rows of the dataset to choose from for each example: spread over classes, and within each."""
    rows = [subset.indices[subset.labels == label] for label in np.unique(subset.labels)]
    turns = -(-MOST // max(1, len(rows)))
    chosen = []
    for turn in range(turns):
        for own in rows:
            start = len(own) * (2 * turn + 1) // (2 * turns)
            if turn < len(own):
                chosen.append([int(own[(start + step) % len(own)]) for step in range(min(_TRIES, len(own)))])
    return chosen


def _example(model: Model, dataset: ImageDataset, row: int) -> Example:
    label = dataset.classes[int(dataset.labels[row])]
    opener = dataset.open_image
    open_it: Callable[[], ImageInput] = partial(opener, row)
    if isinstance(opener, FileOpener):
        # By its path it is read as any other file.
        open_it = partial(Path, opener.root / opener.paths[row])
    return Example(dataset.ids[row], label if label in model.classes else None, open_it)
