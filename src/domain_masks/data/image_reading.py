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

from domain_masks.data.auto_augmentation import ImagePolicy
from domain_masks.data.content import ChangedImageError, open_same
from domain_masks.data.cropping import Box, RandomCrop
from domain_masks.data.dataset import Int64Array, Subset
from domain_masks.data.decoding import problem_of
from domain_masks.data.image_files import UNREADABLE
from domain_masks.data.openers import cached_pixels
from domain_masks.data.preprocessing import ImageBytes, Preprocessing, Purpose
from domain_masks.data.reading_processes import batch_loader
from domain_masks.errors import InputError

_PREFETCHED = 4

FloatArray = npt.NDArray[np.float32]
_Wanted = tuple[Int64Array, FloatArray | None, Int64Array | None]


@dataclass
class RowLists:
    """The rows of each batch, the random numbers of their crops and the keys of their policy, replaced before every pass."""

    lists: Sequence[_Wanted] = ()

    def __iter__(self) -> Iterator[_Wanted]:
        return iter(self.lists)

    def __len__(self) -> int:
        return len(self.lists)


class ImageReader(Dataset["Tensor | InputError"]):
    """Reads a whole batch at once, without labels. Errors are returned, so that no worker's traceback hides them.

    Returns uint8 (n, V, 3, size, size): the V crops of a row's random numbers, or without numbers evaluation's single crop;
    with keys (n, V) each of them is changed by the ``policy``.
    """

    def __init__(
        self,
        subset: Subset,
        preprocessing: Preprocessing,
        crop: RandomCrop | None,
        policy: ImagePolicy | None = None,
    ) -> None:
        self._open_image = subset.dataset.open_image
        self._ids = subset.dataset.ids
        contents = subset.dataset.contents
        # A tensor, which is not copied for each worker; torch takes arrays that can be written only.
        self._contents = None if contents is None else torch.from_numpy(np.require(contents, requirements="W"))
        self._preprocessing = preprocessing
        self._crop = crop
        self._policy = policy

    def __getitem__(self, wanted: _Wanted) -> Tensor | InputError:
        rows, numbers, keys = wanted
        size = self._preprocessing.size
        views = next((drawn.shape[1] for drawn in (numbers, keys) if drawn is not None), 1)
        batch = np.empty((len(rows), views, 3, size, size), dtype=np.uint8)
        for position, row in enumerate(rows.tolist()):
            try:
                batch[position] = self._parts(row, None if numbers is None else numbers[position])
            except (ChangedImageError, *UNREADABLE) as error:
                return unreadable(self._ids[row], error)
        images = torch.from_numpy(batch)
        if self._policy is not None and keys is not None:
            for image, key in zip(images.flatten(0, 1), keys.flatten().tolist(), strict=True):
                image.copy_(self._policy(image, key))
        return images

    def _parts(self, row: int, numbers: FloatArray | None) -> ImageBytes:
        crop, preprocessing = self._crop, self._preprocessing
        if crop is None or numbers is None:
            cached = self._cached(row, "evaluation")
            if cached is not None:
                seen = preprocessing.evaluation_part(Image.fromarray(cached))
            else:
                with self._opened(row) as image:
                    seen = preprocessing.evaluation_pixels(image)
            return seen[None].transpose(0, 3, 1, 2)
        rows = numbers.tolist()

        def choose(width: int, height: int) -> list[Box]:
            return [crop.box(row, width, height) for row in rows]

        cached = self._cached(row, "training")
        if cached is not None:
            return preprocessing.crops(cached, choose).transpose(0, 3, 1, 2)
        with self._opened(row) as image:
            return preprocessing.parts(image, choose).transpose(0, 3, 1, 2)

    def _cached(self, row: int, purpose: Purpose) -> ImageBytes | None:
        return cached_pixels(self._open_image, row, self._preprocessing.decoding(purpose))

    def _opened(self, row: int) -> Image.Image:
        expected = None if self._contents is None else self._contents[row].numpy().tobytes()
        return open_same(self._open_image, row, expected)


def unreadable(name: str, error: BaseException) -> InputError:
    """Return what to say of an image that cannot be read, or has changed since its dataset was opened."""
    if isinstance(error, ChangedImageError):
        return InputError(f"image {name!r}: {error}")
    return InputError(
        f"image {name!r} cannot be read ({problem_of(error).reason}): replace the file or remove it from the dataset"
    )


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
