"""A stream of images read in worker processes: however many there are, only a few batches are in memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from domain_masks.data import Preprocessing
from domain_masks.data.decoding import problem_of
from domain_masks.data.image_files import UNREADABLE
from domain_masks.data.reading_processes import batch_loader, interrupts_held
from domain_masks.deploy.predicting.image_inputs import name_of, open_input
from domain_masks.deploy.predicting.image_paths import Unreadable
from domain_masks.errors import InputError
from domain_masks.torch_globals import default_tensors

WORTH_WORKERS = 200
"""Images from which on starting processes saves time."""
MOST_WORKERS = 8


@dataclass(frozen=True, slots=True)
class ReadBatch:
    """Images as evaluation sees them.

    - ``names``: of each image that could be read; None for one without a path
    - ``images``: uint8 (n, 3, size, size), one per name; an array, since a worker that hands over tensors has to stay until
      they have been fetched, and complains where nobody is left to fetch them
    - ``problems``: those that could not be read
    """

    names: list[str | None]
    images: NDArray[np.uint8]
    problems: list[Unreadable]


def read_batches(
    inputs: Iterable[Any], preprocessing: Preprocessing, batch: int, workers: int | None = None
) -> Iterator[ReadBatch]:
    """Yield ``images`` in their order, ``batch`` at a time, read ahead by a few batches.

    - ``images``: what :func:`open_input` takes; an :class:`Unreadable` among them becomes a problem of its batch
    - ``workers``: processes that read; None for one per core where there are more than a few images, 0 for none

    Raises InputError for what can be no image, and where a worker is ended from outside.
    """
    inputs = iter(inputs)
    if workers is None:
        first = list(islice(inputs, WORTH_WORKERS))
        workers = min(MOST_WORKERS, os.cpu_count() or 1) if len(first) == WORTH_WORKERS else 0
        inputs = chain(first, inputs)
        del first
    held = ExitStack()
    loader = batch_loader(_Reader(preprocessing), _Chunks(inputs, batch, held.close), workers)
    with held, default_tensors():
        held.enter_context(interrupts_held())
        batches = iter(loader)
    try:
        while (found := _next(batches)) is not None:
            if isinstance(found, InputError):
                raise found
            yield found
    finally:
        # Ends the workers, also where whoever asked for images has enough; an exception would keep them alive.
        del batches, loader


def _next(batches: Iterator[ReadBatch | InputError]) -> ReadBatch | InputError | None:
    try:
        return next(batches, None)
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise InputError(
            "a process that reads images was ended from outside, as happens where memory is short: use fewer --workers, or "
            "a smaller --batch"
        ) from error


class _Chunks:
    """Lists of up to ``size`` items, taken when they are asked for; ``begin`` is called before the first one is taken.

    By then all workers have been started, and waiting for items, such as lines that somebody types, can be interrupted.
    """

    def __init__(self, items: Iterator[Any], size: int, begin: Callable[[], None]) -> None:
        self._items = items
        self._size = size
        self._begin = begin

    def __iter__(self) -> Iterator[list[Any]]:
        self._begin()
        while chunk := list(islice(self._items, self._size)):
            yield chunk


class _Reader(Dataset["ReadBatch | InputError"]):
    """Reads the images of a batch; mistakes of the caller's are returned, so that no worker's traceback hides them."""

    def __init__(self, preprocessing: Preprocessing) -> None:
        self._preprocessing = preprocessing

    def __getitem__(self, inputs: list[Any]) -> ReadBatch | InputError:
        names: list[str | None] = []
        pixels = []
        problems = []
        for item in inputs:
            if isinstance(item, Unreadable):
                problems.append(item)
                continue
            name = name_of(item)
            try:
                with open_input(item) as image:
                    pixels.append(self._preprocessing.evaluation_pixels(image).transpose(2, 0, 1))
            except InputError as mistake:
                return mistake
            except UNREADABLE as error:
                path = None if name is None else Path(name)
                problems.append(Unreadable(name or "an image without a path", problem_of(error, path).reason))
            else:
                names.append(name)
        size = self._preprocessing.size
        # In one order of memory, with and without processes: kernels round by it.
        images = np.ascontiguousarray(np.stack(pixels)) if pixels else np.empty((0, 3, size, size), dtype=np.uint8)
        return ReadBatch(names, images, problems)
