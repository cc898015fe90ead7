"""Read the images of a dataset batch by batch, in worker processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from domain_masks.data.content import ChangedImageError, open_same
from domain_masks.data.cropping import RandomCrop
from domain_masks.data.dataset import Int64Array, Subset
from domain_masks.data.decoding import problem_of
from domain_masks.data.image_files import UNREADABLE
from domain_masks.data.preprocessing import ImageBytes, Preprocessing
from domain_masks.data.reading_processes import batch_loader
from domain_masks.errors import InputError

_PREFETCHED = 4

FloatArray = npt.NDArray[np.float32]
_Wanted = tuple[Int64Array, FloatArray | None]


@dataclass
class RowLists:
    """The rows of each batch and the random numbers of their crops, replaced before every pass."""

    lists: Sequence[_Wanted] = ()

    def __iter__(self) -> Iterator[_Wanted]:
        return iter(self.lists)

    def __len__(self) -> int:
        return len(self.lists)


class ImageReader(Dataset["Tensor | InputError"]):
    """Reads a whole batch at once, without labels. Errors are returned, so that no worker's traceback hides them.

    Returns uint8 (n, V, 3, size, size): the V crops of a row's random numbers, or without numbers evaluation's single crop.
    """

    def __init__(self, subset: Subset, preprocessing: Preprocessing, crop: RandomCrop | None) -> None:
        self._open_image = subset.dataset.open_image
        self._ids = subset.dataset.ids
        self._contents = subset.dataset.contents
        self._preprocessing = preprocessing
        self._crop = crop

    def __getitem__(self, wanted: _Wanted) -> Tensor | InputError:
        rows, numbers = wanted
        size = self._preprocessing.size
        batch = np.empty((len(rows), 1 if numbers is None else numbers.shape[1], 3, size, size), dtype=np.uint8)
        for position, row in enumerate(rows.tolist()):
            try:
                expected = None if self._contents is None else self._contents[row].tobytes()
                with open_same(self._open_image, row, expected) as image:
                    batch[position] = self._parts(image, None if numbers is None else numbers[position])
            except ChangedImageError as problem:
                return InputError(f"image {self._ids[row]!r}: {problem}")
            except UNREADABLE as error:
                return InputError(
                    f"image {self._ids[row]!r} cannot be read ({problem_of(error).reason}): replace the file or remove it from "
                    "the dataset"
                )
        return torch.from_numpy(batch)

    def _parts(self, image: Image.Image, numbers: FloatArray | None) -> ImageBytes:
        crop = self._crop
        if crop is None or numbers is None:
            return self._preprocessing.evaluation_pixels(image)[None].transpose(0, 3, 1, 2)
        rows = numbers.tolist()
        parts = self._preprocessing.parts(image, lambda width, height: [crop.box(row, width, height) for row in rows])
        return parts.transpose(0, 3, 1, 2)


def image_batches(
    reader: ImageReader, rows: RowLists, workers: int, keep_workers: bool
) -> DataLoader[Tensor | InputError]:
    """Return a loader that reads the images of each of ``rows`` in ``workers`` processes, or in this process for 0."""
    return batch_loader(
        reader,
        rows,
        workers,
        _PREFETCHED,
        pin_memory=torch.cuda.is_available(),
        persistent_workers=keep_workers and workers > 0,
    )


def require_images(images: Tensor | InputError) -> Tensor:
    """Return the images of a batch; raises the InputError that a worker returned instead."""
    if isinstance(images, InputError):
        raise images
    return images
