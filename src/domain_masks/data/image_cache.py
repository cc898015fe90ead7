"""Images decoded once and kept, so that an epoch decodes none: built by one process, used by all.

What is kept is what a part of an image is cut and resized from, so that training and evaluation see the same bytes as
without. It is found by the content of the images, the ways of decoding them, and the versions of what decodes them.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Literal

import numpy as np
import PIL
import torch
from PIL import features
from torch import Tensor
from torch.utils.data import Dataset

from domain_masks.data.content import ChangedImageError, contents_of, read_same
from domain_masks.data.dataset import ImageDataset, Int64Array
from domain_masks.data.image_files import UNREADABLE
from domain_masks.data.image_memory import SHARED_MEMORY, ImageUse, free_memory, memory_folder, remove_unused
from domain_masks.data.image_reading import unreadable
from domain_masks.data.openers import Opener, gives_bytes, is_in_memory
from domain_masks.data.preprocessing import Decoding, ImageBytes, Preprocessing, Purpose
from domain_masks.data.reading_processes import batch_loader, interrupts_held
from domain_masks.data.stored_images import (
    CHANNELS,
    Contents,
    DecodedImages,
    StoredImages,
    StoredOpener,
    open_stored,
    store,
    unique_contents,
)
from domain_masks.errors import InputError
from domain_masks.progress import Reporter
from domain_masks.records.cache import CACHE_VARIABLE, cache_folder, cache_lock

Place = Literal["disk", "memory"]

IMAGES = "images"
"""Folder below the cache folder."""
PURPOSES: tuple[Purpose, ...] = ("training", "evaluation")
SCHEMA = 1
_SAMPLE = 200
"""Images that are opened, not decoded, to say how large all will be."""
_CHUNK = 16
_WORTH_WORKERS = 200
_WAITING = "waiting for another process that caches these images"
_CODECS = ("libjpeg_turbo", "jpg", "jpg_2000", "webp", "avif")


def with_stored_images(
    dataset: ImageDataset, preprocessing: Preprocessing, place: Place, workers: int, reporter: Reporter
) -> ImageDataset:
    """Return ``dataset`` with its images decoded for ``preprocessing`` and kept, by ``workers`` processes.

    - ``place``: "disk", below the cache folder; or "memory", as long as a process uses them

    All images of the dataset, so that runs with other held-out domains use the same ones. While one process builds, others
    wait. Images that are in memory are not kept again, which is said. Raises InputError where an image cannot be read, or
    the images are larger than the free space.
    """
    if is_in_memory(dataset.open_image):
        reporter.say(f"cache: the images of {dataset.name} are in memory already")
        return dataset
    if not gives_bytes(dataset.open_image):
        reporter.say(f"cache: the images of {dataset.name} come without the bytes of files: they are not kept")
        return dataset
    source = source_of(dataset, preprocessing)
    stored = _on_disk(source, workers, reporter) if place == "disk" else _in_memory(source, workers, reporter)
    where = stored.folder if place == "disk" else "memory"
    reporter.say(f"cache: {in_binary_units(stored.bytes)} of decoded images in {where}")
    opener = StoredOpener(dataset.open_image, stored, stored.rows_of(source.contents))
    return replace(dataset, open_image=opener)


def _on_disk(source: ImageSource, workers: int, reporter: Reporter) -> StoredImages:
    folder = cache_folder() / IMAGES / source.key
    stored = open_stored(folder, source.decodings)
    if stored is not None:
        return stored
    with cache_lock(folder, "images", lambda: reporter.say(_WAITING)):
        return open_stored(folder, source.decodings) or _built(source, folder, workers, reporter)


def _in_memory(source: ImageSource, workers: int, reporter: Reporter) -> StoredImages:
    root = memory_folder()
    remove_unused(root)
    folder = root / source.key
    with cache_lock(folder, "images", lambda: reporter.say(_WAITING)):
        use = ImageUse(folder)
        try:
            stored = open_stored(folder, source.decodings) or _built(source, folder, workers, reporter)
        except BaseException:
            use.end()
            raise
    use.last_as_long_as(stored)
    return stored


def in_binary_units(count: float) -> str:
    """Return a number of bytes as text, in GiB, MiB or KiB."""
    for unit, size in (("GiB", 2**30), ("MiB", 2**20)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count / 2**10:.0f} KiB"


@dataclass(frozen=True)
class ImageSource:
    """What is to be decoded.

    - ``contents``: (N, 16) hashes of all images; ``unique``, ``rows``: the (M, 16) different ones, and a row of each
    """

    dataset: ImageDataset
    contents: Contents
    unique: Contents
    rows: Int64Array
    preprocessing: Preprocessing

    @property
    def decodings(self) -> tuple[Decoding, ...]:
        """The ways in which every image is decoded."""
        return tuple(self.preprocessing.decoding(purpose) for purpose in PURPOSES)

    @property
    def key(self) -> str:
        """Name of everything that the decoded images depend on, 24 hexadecimal digits."""
        plain = {
            "schema": SCHEMA,
            "decodings": [asdict(decoding) for decoding in self.decodings],
            "decoders": [PIL.__version__, _simplejpeg(), {name: features.version(name) for name in _CODECS}],
        }
        digest = hashlib.blake2b(json.dumps(plain, sort_keys=True).encode() + self.unique.tobytes(), digest_size=12)
        return digest.hexdigest()


def source_of(dataset: ImageDataset, preprocessing: Preprocessing) -> ImageSource:
    """Return what is to be decoded of a dataset; images that have not been identified are read now."""
    contents = contents_of(dataset)
    return ImageSource(dataset, contents, *unique_contents(contents), preprocessing)


def _simplejpeg() -> str | None:
    try:
        return metadata.version("simplejpeg")
    except metadata.PackageNotFoundError:
        return None


def _built(source: ImageSource, folder: Path, workers: int, reporter: Reporter) -> StoredImages:
    """Decode all images and store them in a folder, whose lock this process holds."""
    name, count, needed = source.dataset.name, len(source.rows), estimated_bytes(source)
    _refuse_larger(name, needed, folder.parent)
    reporter.say(f"caching {count} images of {name}, about {in_binary_units(needed)}, in {folder}")
    chunks = [source.rows[start : start + _CHUNK].tolist() for start in range(0, count, _CHUNK)]
    loader = batch_loader(_Decoder(source), chunks, workers if count >= _WORTH_WORKERS else 0)
    with interrupts_held():
        batches: Iterator[_Chunk | InputError] = iter(loader)
    store(folder, source.unique, reporter.track(_decoded(batches), len(chunks), "caching images"))
    stored = open_stored(folder, source.decodings)
    if stored is None:
        raise InputError(f"{folder} cannot be read: remove it, or set ${CACHE_VARIABLE} to another folder")
    return stored


def _refuse_larger(name: str, needed: int, folder: Path) -> None:
    in_memory = folder.is_relative_to(SHARED_MEMORY)
    free = free_memory() if in_memory else shutil.disk_usage(folder).free
    if needed <= free:
        return
    remedy = "use --cache disk" if in_memory else f"set ${CACHE_VARIABLE} to another folder, or use --cache none"
    size, room = in_binary_units(needed), in_binary_units(free)
    raise InputError(f"the decoded images of {name!r} need about {size} in {folder}, {room} are free: {remedy}")


def estimated_bytes(source: ImageSource) -> int:
    """Return about how large all images will be, from the sizes that some of them say they have."""
    picked = np.unique(np.linspace(0, len(source.rows) - 1, min(_SAMPLE, len(source.rows))).astype(np.int64))
    total, seen = 0, 0
    for row in source.rows[picked].tolist():
        try:
            sizes = set()
            for purpose in PURPOSES:
                with source.dataset.open_image(row) as image:
                    sizes.add(source.preprocessing.decoded_size(image, purpose))
        except UNREADABLE:
            continue
        total += sum(width * height * CHANNELS for width, height in sizes)
        seen += 1
    return 0 if seen == 0 else total * len(source.rows) // seen


@dataclass(frozen=True)
class _Chunk:
    """Decoded images on their way from the process that has decoded them: as a tensor, its bytes are not copied."""

    pixels: Tensor
    offsets: Int64Array
    sizes: Int64Array


class _Decoder(Dataset["_Chunk | InputError"]):
    """Decodes the images of some rows; errors are returned, so that no worker's traceback hides them."""

    def __init__(self, source: ImageSource) -> None:
        self._open_image: Opener = source.dataset.open_image
        self._ids = source.dataset.ids
        self._contents = source.contents
        self._preprocessing = source.preprocessing

    def __getitem__(self, rows: list[int]) -> _Chunk | InputError:
        shape = (len(rows), len(PURPOSES))
        offsets, sizes = np.empty(shape, np.int64), np.empty((*shape, 2), np.int64)
        parts, end = [], 0
        for position, row in enumerate(rows):
            placed: dict[int, int] = {}
            try:
                versions = self._versions(row)
            except (ChangedImageError, *UNREADABLE) as error:
                return unreadable(self._ids[row], error)
            for version, image in enumerate(versions):
                if id(image) not in placed:
                    placed[id(image)] = end
                    parts.append(image.reshape(-1))
                    end += image.size
                offsets[position, version], sizes[position, version] = placed[id(image)], image.shape[1::-1]
        return _Chunk(torch.from_numpy(np.concatenate(parts)), offsets, sizes)

    def _versions(self, row: int) -> tuple[ImageBytes, ImageBytes]:
        """Return an image as training and as evaluation decode it, (H, W, 3): one array twice where they are equal."""
        read = read_same(self._open_image, row, self._contents[row].tobytes())
        with read.open() as image:
            training = self._preprocessing.training_pixels(image)
        with read.open() as image:
            evaluation = np.asarray(self._preprocessing.evaluation_image(image))
        return training, training if np.array_equal(training, evaluation) else evaluation


def _decoded(chunks: Iterator[_Chunk | InputError]) -> Iterator[DecodedImages]:
    for chunk in chunks:
        if isinstance(chunk, InputError):
            raise chunk
        yield DecodedImages(chunk.pixels.numpy(), chunk.offsets, chunk.sizes)
