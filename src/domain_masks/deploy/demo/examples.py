"""The example images of the page: given files, else held-out images of the run's dataset, else digits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from domain_masks.data import DATASETS, Subset, load_dataset
from domain_masks.data.openers import FileOpener
from domain_masks.deploy.demo.answers import image_of
from domain_masks.deploy.predicting.image_inputs import ImageInput
from domain_masks.deploy.predicting.image_paths import Unreadable, find_images
from domain_masks.deploy.run_data import run_data
from domain_masks.errors import DomainMasksError, InputError
from domain_masks.records.run_folder import RunFolder

if TYPE_CHECKING:
    from domain_masks.deploy.predicting.model import Model

MOST = 12
_NOTED = 20
_LOOKED_AT = 10_000
_SIDE = 192


@dataclass(frozen=True)
class ExampleImage:
    """An example image.

    - ``name``: shown below the image
    - ``label``: its true class, if known and one of the model's classes
    - ``open``: opens the image each time, as :func:`~domain_masks.deploy.predicting.image_inputs.open_input` takes it
    - ``thumbnail``: in RGB, at most 192 pixels wide and high
    """

    name: str
    label: str | None
    open: Callable[[], ImageInput]
    thumbnail: Image.Image


@dataclass(frozen=True)
class Examples:
    """The example images; ``title`` says where they come from, ``notes`` which could not be read and why."""

    title: str
    images: tuple[ExampleImage, ...]
    notes: tuple[str, ...] = ()


def find_examples(
    model: Model, places: Sequence[str] = (), folder: Path | None = None, root: Path | None = None
) -> Examples:
    """Return up to 12 example images.

    - ``places``: files, folders and patterns; if empty, held-out images of the run's dataset
    - ``folder``: the model's folder, whose ``config.yaml`` locates the dataset
    - ``root``: overrides the dataset's location

    If the dataset is not found, the embedded digits are used, and a note says why. Raises InputError if ``places`` contain
    no readable image, or ``root`` does not contain the dataset.
    """
    if places:
        return _given(model, places)
    try:
        return _held_out(model, folder, root)
    except DomainMasksError as error:
        if root is not None:
            raise
        reason = str(error).splitlines()[0]
        note = f"no images of the run's dataset as examples, digits instead: {reason}; give --root or --examples"
    digits = load_dataset("digits")
    images = _of_classes(model, Subset(digits, np.arange(len(digits))))
    return Examples("Digits, which the model was not trained on", images, (note,))


def _given(model: Model, places: Sequence[str]) -> Examples:
    items = list(islice(find_images(places), _LOOKED_AT))
    step = -(-len(items) // MOST)
    examples: dict[int, ExampleImage] = {}
    notes: list[str] = []
    # Evenly spaced instead of the first twelve; unreadable ones are replaced by others.
    for row in (row for start in range(step) for row in range(start, len(items), step)):
        item = items[row]
        try:
            if isinstance(item, Unreadable):
                raise InputError(f"{item.name!r}: {item.reason}")
            examples[row] = _opened(model, partial(Path, item), Path(item).name, None, item)
        except InputError as error:
            notes.append(str(error))
        if len(examples) == MOST or len(notes) == _NOTED:
            break
    if not examples:
        raise InputError(f"examples: no readable image: {'; '.join(notes)}")
    images = tuple(examples[row] for row in sorted(examples))
    return Examples("Your examples", images, tuple(f"no example: {note}" for note in notes))


def _held_out(model: Model, folder: Path | None, root: Path | None) -> Examples:
    changes: dict[str, Any] = {} if root is None else {"root": str(root)}
    if (folder is None or not RunFolder(folder).config.is_file()) and model.card.dataset in DATASETS:
        changes["dataset"] = model.card.dataset
    data = run_data(folder or Path(), model.card, changes)
    if data is None:
        raise InputError("there is no config.yaml next to the model to locate the dataset")
    splits = data.splits
    if model.targets:
        title, subset = f"Images of the held-out {' and '.join(model.targets)}", splits.held_out
    else:
        title, subset = "Images of the sources", splits.test or splits.validation
    return Examples(title, _of_classes(model, subset))


def _of_classes(model: Model, subset: Subset) -> tuple[ExampleImage, ...]:
    """Return images of all classes in turn, in a fixed random order, skipping unreadable ones."""
    dataset, random = subset.dataset, np.random.default_rng(0)
    by_class = [random.permutation(subset.indices[subset.labels == label]) for label in np.unique(subset.labels)]
    rows = [int(row) for turn in zip_longest(*by_class) for row in turn if row is not None]
    examples: list[ExampleImage] = []
    for row in rows[:_LOOKED_AT]:
        label = dataset.classes[int(dataset.labels[row])]
        opener = dataset.open_image
        open_it: Callable[[], ImageInput] = partial(opener, row)
        if isinstance(opener, FileOpener):
            # Opened by path, it is read like any other file.
            open_it = partial(Path, opener.root / opener.paths[row])
        with suppress(InputError):
            examples.append(_opened(model, open_it, dataset.ids[row], label if label in model.classes else None))
        if len(examples) == MOST:
            break
    return tuple(examples)


def _opened(
    model: Model, open_it: Callable[[], ImageInput], name: str, label: str | None, path: str | None = None
) -> ExampleImage:
    """Return an example image; ``path`` is its name in messages. Raises InputError for files that are not images."""
    thumbnail = image_of(open_it, path or name, model.preprocessing.value_range)
    thumbnail.thumbnail((_SIDE, _SIDE))
    return ExampleImage(name, label, open_it, thumbnail)
