"""A stream of images read in worker processes, which holds only a few batches in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from domain_masks.cores import cores
from domain_masks.data import Preprocessing
from domain_masks.data.decoding import problem_of
from domain_masks.data.image_files import UNREADABLE
from domain_masks.data.reading_processes import batch_loader, interrupts_held
from domain_masks.deploy.predicting.image_inputs import name_of, open_input
from domain_masks.deploy.predicting.image_paths import Unreadable
from domain_masks.errors import InputError
from domain_masks.torch_globals import default_tensors

WORTH_WORKERS = 200
"""Number of images from which starting worker processes saves time."""
MOST_WORKERS = 8


@dataclass(frozen=True, slots=True)
class ReadBatch:
    """A batch of images, preprocessed as in evaluation.

    - ``names``: the path of each image that could be read; None for one without a path
    - ``images``: uint8 (n, 3, size, size), one per name, in any memory layout; a NumPy array, since a worker that returns
      tensors has to live until they are received, and prints an error if the receiver is gone
    - ``problems``: the images that could not be read
    """

    names: list[str | None]
    images: NDArray[np.uint8]
    problems: list[Unreadable]

    def joined(self, other: ReadBatch) -> ReadBatch:
        """Return the images and problems of two batches as one."""
        images = np.concatenate([self.images, other.images])
        return ReadBatch([*self.names, *other.names], images, [*self.problems, *other.problems])


def read_batches(
    inputs: Iterable[Any], preprocessing: Preprocessing, batch: int, workers: int | None = None
) -> Iterator[ReadBatch]:
    """Yield ``inputs`` in order, ``batch`` at a time, reading a few batches ahead.

    - ``inputs``: images as :func:`open_input` takes them; an :class:`Unreadable` becomes a problem of its batch
    - ``workers``: worker processes; None for one per core if there are at least 200 images, 0 for none

    Raises InputError for unsupported types, and if a worker process is killed.
    """
    inputs, workers = worth_workers(inputs, workers, cores())
    held = ExitStack()
    loader = batch_loader(_Reader(preprocessing), _Chunks(inputs, batch, held.close), workers)
    with held, default_tensors():
        held.enter_context(interrupts_held())
        batches = iter(loader)
    try:
        while (read := _next(batches)) is not None:
            if isinstance(read, InputError):
                raise read
            yield read
    finally:
        # Ends the workers, also if the caller stops early; an exception's traceback would keep them alive.
        del batches, loader


def worth_workers(inputs: Iterable[Any], workers: int | None, cores: int) -> tuple[Iterator[Any], int]:
    """Return ``inputs`` and the number of workers: ``workers``, or for None one per core, 0 for fewer than 200 images."""
    inputs = iter(inputs)
    if workers is not None:
        return inputs, workers
    first = list(islice(inputs, WORTH_WORKERS))
    return chain(first, inputs), min(MOST_WORKERS, cores) if len(first) == WORTH_WORKERS else 0


def read_batch(inputs: Iterable[Any], preprocessing: Preprocessing) -> ReadBatch:
    """Read the images of one batch in this thread; see :func:`read_batches`."""
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
                pixels.append(preprocessing.evaluation_pixels(image))
        except InputError:
            raise
        except UNREADABLE as error:
            path = None if name is None else Path(name)
            problems.append(Unreadable(name or "an image without a path", problem_of(error, path).reason))
        else:
            names.append(name)
    size = preprocessing.size
    images = np.stack(pixels) if pixels else np.empty((0, size, size, 3), dtype=np.uint8)
    return ReadBatch(names, images.transpose(0, 3, 1, 2), problems)


def _next(batches: Iterator[ReadBatch | InputError]) -> ReadBatch | InputError | None:
    try:
        return next(batches, None)
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise InputError(
            "a worker process that reads images was killed, probably for lack of memory: use fewer --workers or a smaller "
            "--batch"
        ) from error


class _Chunks:
    """Lists of up to ``size`` items, taken on demand; ``on_start`` is called before the first item is taken.

    By then all workers have been started, and waiting for items, such as lines typed on a terminal, can be interrupted.
    """

    def __init__(self, items: Iterator[Any], size: int, on_start: Callable[[], None]) -> None:
        self._items = items
        self._size = size
        self._on_start = on_start

    def __iter__(self) -> Iterator[list[Any]]:
        self._on_start()
        while chunk := list(islice(self._items, self._size)):
            yield chunk


class _Reader(Dataset["ReadBatch | InputError"]):
    """Reads the images of a batch; an InputError is returned, as a worker would wrap it in its own traceback."""

    def __init__(self, preprocessing: Preprocessing) -> None:
        self._preprocessing = preprocessing

    def __getitem__(self, inputs: list[Any]) -> ReadBatch | InputError:
        try:
            return read_batch(inputs, self._preprocessing)
        except InputError as mistake:
            return mistake
