"""Features of F computed once and kept on disk, so that T alone is trained.

Each domain has two arrays of half precision in a folder whose name is a hash of everything they depend on: the images, the
weights of F, its function (the classes, settings and code of its modules), the boundary, the preprocessing, the augmentation
and the number of views. Runs that agree in these share the features, whatever their method, seed or held-out domain. The
folder also holds F's output for two images of noise: another F with the same hash gets a folder of its own.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import quote

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from domain_masks.data import (
    Augmentation,
    BatchAugmentation,
    Preprocessing,
    Subset,
    augmentation_named,
    evaluation_batches,
    view_batches,
)
from domain_masks.errors import InputError
from domain_masks.networks import Network, signature_digest
from domain_masks.progress import Reporter
from domain_masks.randomness import generator
from domain_masks.records.cache import CACHE_VARIABLE, cache_folder, cache_lock
from domain_masks.records.files import partial_files, writing
from domain_masks.records.setting_types import augmentation_in_keys
from domain_masks.training.live_numbers import Pace

SCHEMA = 4
"""Part of the folder's name, so that features of another layout or computation are never used.

Features of schema 2 had the precision of the run that computed them first. Views of schema 3 were resized with pixels
beyond the crop.
"""
_CHUNK = 64
_PROBE = "probe.npy"
_SAME = 1e-2
"""Largest difference, relative to the largest value, of the probes of one F on machines that sum in another order."""


@dataclass(frozen=True)
class FeatureRecipe:
    """Everything that frozen features depend on besides the images."""

    network: Network
    preprocessing: Preprocessing
    augmentation: str
    auto_augment: str
    random_erasing: float
    views: int
    device: torch.device
    workers: int

    @property
    def changes(self) -> Augmentation:
        """The augmentation of the views."""
        return augmentation_named(self.augmentation, self.auto_augment, self.random_erasing)


@dataclass(frozen=True)
class FeatureRows:
    """Rows of several arrays on disk, addressed as one; read only when taken.

    - ``arrays``: one per domain, (n, ...)
    - ``which``, ``offsets``: (N,) the array of each row, and its row there
    """

    arrays: list[NDArray[np.float16]]
    which: NDArray[np.int64]
    offsets: NDArray[np.int64]

    def take(self, positions: NDArray[np.int64], view: NDArray[np.int64] | None = None) -> Tensor:
        """Return the rows at ``positions``, of each the given ``view`` where there are views; float32 (n, ...)."""
        inner = self.arrays[0].shape[1:] if view is None else self.arrays[0].shape[2:]
        taken = np.empty((len(positions), *inner), dtype=np.float32)
        for number, array in enumerate(self.arrays):
            here = np.flatnonzero(self.which[positions] == number)
            rows = self.offsets[positions[here]]
            taken[here] = array[rows] if view is None else array[rows, view[here]]
        return torch.from_numpy(taken)


class FrozenFeatures:
    """The features of one dataset under one F, domain by domain; computed when first asked for."""

    def __init__(self, dataset_fingerprint: str, recipe: FeatureRecipe, reporter: Reporter) -> None:
        self.recipe = recipe
        self.reporter = reporter
        self.folder = folder_for(cache_folder() / "features" / self._key(dataset_fingerprint), probe(recipe.network))
        self._pace = Pace(reporter, "features")
        self._arrays: dict[tuple[str, str], tuple[NDArray[np.float16], NDArray[np.int64]]] = {}

    def _key(self, fingerprint: str) -> str:
        recipe = self.recipe
        digest = hashlib.blake2b(digest_size=12)
        plain = {
            "schema": SCHEMA,
            "fingerprint": fingerprint,
            "boundary": recipe.network.boundary,
            "function": signature_digest(recipe.network.network, recipe.network.in_features),
            "preprocessing": recipe.preprocessing.to_dict(),
            "augmentation": augmentation_in_keys(recipe.augmentation),
            "views": recipe.views,
            **({} if recipe.auto_augment == "none" else {"auto_augment": recipe.auto_augment}),
            **({"random_erasing": recipe.random_erasing} if recipe.random_erasing else {}),
        }
        digest.update(json.dumps(plain, sort_keys=True).encode())
        for name, tensor in sorted(recipe.network.feature_state().items()):
            digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def of(self, subset: Subset, kind: Literal["evaluation", "views"]) -> FeatureRows:
        """Return the features of ``subset``: of its images under evaluation transforms, or of their augmented views."""
        dataset = subset.dataset
        arrays: list[NDArray[np.float16]] = []
        which = np.zeros(len(subset), dtype=np.int64)
        offsets = np.zeros(len(subset), dtype=np.int64)
        self._pace.begin(self._images_missing(subset, kind))
        for name in subset.domain_names:
            array, rows = self._domain(subset, name, kind)
            mine = np.flatnonzero(subset.domain_indices == dataset.domains.index(name))
            which[mine] = len(arrays)
            offsets[mine] = np.searchsorted(rows, subset.indices[mine])
            arrays.append(array)
        return FeatureRows(arrays, which, offsets)

    def _images_missing(self, subset: Subset, kind: str) -> int:
        """Return how many images have no features yet, of all domains in ``subset``."""
        counts = np.bincount(subset.dataset.domain_indices, minlength=len(subset.dataset.domains))
        return sum(
            int(counts[subset.dataset.domains.index(name)])
            for name in subset.domain_names
            if (name, kind) not in self._arrays and not self._path(name, kind).is_file()
        )

    def _path(self, name: str, kind: str) -> Path:
        return self.folder / f"domain-{quote(name, safe='')}" / f"{kind}.npy"

    def _domain(self, subset: Subset, name: str, kind: str) -> tuple[NDArray[np.float16], NDArray[np.int64]]:
        if (name, kind) not in self._arrays:
            dataset = subset.dataset
            rows = np.flatnonzero(dataset.domain_indices == dataset.domains.index(name))
            path = self._path(name, kind)
            array = _stored(path, len(rows))
            if array is None:
                with cache_lock(path, "features"):
                    # Of several concurrent runs one computes, and the others wait.
                    array = _stored(path, len(rows))
                    if array is None:
                        self._compute(Subset(dataset, rows), name, kind, path)
                        array = _stored(path, len(rows))
            if array is None:
                raise InputError(f"{path} cannot be read: remove it, or set ${CACHE_VARIABLE} to another folder")
            self._arrays[name, kind] = (array, rows)
        return self._arrays[name, kind]

    def _compute(self, subset: Subset, name: str, kind: str, path: Path) -> None:
        """Compute and write one array, whole or not at all."""
        for stale in partial_files(path):
            stale.unlink(missing_ok=True)
        training = self.recipe.network.training
        self.recipe.network.eval()
        try:
            chunks = self._chunks(subset, kind)
            count = -(-len(subset) // _CHUNK)
            with writing(path) as temporary, temporary.open("wb") as file:
                for number, features in enumerate(self.reporter.track(chunks, count, f"features of {name} ({kind})")):
                    if number == 0:
                        shape = (len(subset), *features.shape[1:])
                        self._check_space(shape, name, path)
                        header = {"descr": "<f2", "fortran_order": False, "shape": shape}
                        np.lib.format.write_array_header_1_0(file, header)
                    half = features.to(torch.float16)
                    if not bool(torch.isfinite(half).all()):
                        raise InputError(
                            f"features at boundary {self.recipe.network.boundary!r} exceed half precision: choose another"
                        )
                    # Written, not memory-mapped: a full disk is then an error and not a crash.
                    file.write(np.ascontiguousarray(half.cpu().numpy(), dtype="<f2").data)
                    self._pace.add(len(half))
        finally:
            self.recipe.network.train(training)

    def _check_space(self, shape: tuple[int, ...], name: str, path: Path) -> None:
        needed, free = int(np.prod(shape)) * 2, shutil.disk_usage(path.parent).free
        if free < needed:
            raise InputError(
                f"the features of {name!r} need {needed / 2**30:.1f} GiB in {path.parent}, {free / 2**30:.1f} are free: set "
                f"${CACHE_VARIABLE} to another folder, or use fewer --views or a later --boundary"
            )

    @torch.inference_mode()
    def _features(self, images: Tensor) -> Tensor:
        """Run F in single precision, whatever the run's, as runs of any precision share the features."""
        with torch.autocast(images.device.type, enabled=False):
            return self.recipe.network.features(images.float())

    @torch.inference_mode()
    def _chunks(self, subset: Subset, kind: str) -> Iterator[Tensor]:
        recipe = self.recipe
        if kind == "evaluation":
            for batch in evaluation_batches(subset, recipe.preprocessing, _CHUNK, recipe.workers, with_labels=False):
                if batch.images is None:
                    raise ValueError("expected images")
                images = batch.images.to(recipe.device)
                yield self._features(recipe.preprocessing.normalize(images))
            return
        augment = BatchAugmentation(recipe.changes, recipe.preprocessing).to(recipe.device)
        reading = (_CHUNK, recipe.workers)
        for parts, randoms in view_batches(subset, recipe.preprocessing, recipe.changes, recipe.views, reading):
            on_device = parts.to(recipe.device).unbind(1)
            yield torch.stack(
                [self._features(augment(view, random)) for view, random in zip(on_device, randoms, strict=True)], 1
            )


@torch.inference_mode()
def probe(network: Network) -> NDArray[np.float32]:
    """Return the mean of every channel of F's output, in evaluation mode, for two images of noise, (2, K)."""
    size = network.image_size
    tensor = next(network.parameters(), torch.zeros(()))
    noise = torch.randn(2, 3, size, size, generator=generator(0, "features-probe")).to(tensor)
    training = network.training
    network.eval()
    try:
        pooled: NDArray[np.float32] = network.pooled(network.features(noise)).float().cpu().numpy()
    finally:
        network.train(training)
    return pooled


def folder_for(preferred: Path, wanted: NDArray[np.float32]) -> Path:
    """Return the folder of the features of an F whose :func:`probe` is ``wanted``: ``preferred``, or one numbered after it.

    Raises InputError where it cannot be written to.
    """
    number = 1
    while True:
        folder = preferred if number == 1 else preferred.with_name(f"{preferred.name}-{number}")
        path = folder / _PROBE
        with cache_lock(path, "features"):
            try:
                stored: NDArray[np.float32] | None = np.load(path)
            except (OSError, ValueError, EOFError):
                stored = None
            if stored is None:
                with writing(path) as temporary, temporary.open("wb") as file:
                    np.save(file, wanted)
                return folder
        if stored.shape == wanted.shape and bool(np.abs(stored - wanted).max() <= _SAME * np.abs(wanted).max()):
            return folder
        number += 1


def _stored(path: Path, rows: int) -> NDArray[np.float16] | None:
    """Return the array of ``rows`` rows in ``path``; None where it is missing or incomplete."""
    try:
        array: NDArray[np.float16] = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError):
        return None
    return array if len(array) == rows and array.dtype == np.float16 else None
