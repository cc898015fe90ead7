"""Datasets of image files, one row per file: shared by folders, manifests and published datasets."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from domain_masks.data.dataset import ImageDataset, Int64Array, TextArray, fingerprint_of, positions_of
from domain_masks.data.openers import FileOpener
from domain_masks.data.packed_texts import PackedTexts


@dataclass(frozen=True, slots=True)
class ImageFile:
    """An image file of a dataset.

    - ``path``: relative to the dataset's folder, with forward slashes
    - ``size``, ``changed``: in bytes, and its modification time in nanoseconds
    - ``split``, ``group``: empty without them
    - ``other_id``: its id, where it differs from its path
    """

    path: str
    domain: str
    class_name: str
    size: int = 0
    changed: int = 0
    split: str = ""
    group: str = ""
    other_id: str = ""

    @property
    def id(self) -> str:
        """Its id in results."""
        return self.other_id or self.path


@contextmanager
def collection_paused() -> Iterator[None]:
    """Pause garbage collection while an index is built: it has no cycles, and all its rows would be walked again and again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@collection_paused()
def dataset_of_files(
    name: str,
    root: Path,
    files: Sequence[ImageFile],
    names: tuple[tuple[str, ...], tuple[str, ...]],
    states: Int64Array | None = None,
) -> ImageDataset:
    """Return the dataset of ``files`` below ``root``, in their order; ``names`` are its domains and its classes, in order.

    Splits and groups are those of the files, None where all are empty. ``states`` enters the fingerprint to detect
    changed files; by default their sizes and modification times.
    """
    domains, classes = names
    paths = PackedTexts(file.path for file in files)
    ids = PackedTexts(file.id for file in files) if any(file.other_id for file in files) else paths
    labels = positions_of([file.class_name for file in files], classes)
    domain_indices = positions_of([file.domain for file in files], domains)
    if states is None:
        states = np.array([(file.size, file.changed) for file in files], dtype=np.int64)
    return ImageDataset(
        name=name,
        classes=classes,
        domains=domains,
        ids=ids,
        labels=labels,
        domain_indices=domain_indices,
        splits=_column([file.split for file in files]),
        open_image=FileOpener(root.resolve(), paths),
        fingerprint=fingerprint_of([(name,), classes, domains, ids], [labels, domain_indices, states]),
        groups=_column([file.group for file in files]),
    )


def _column(values: Sequence[str]) -> TextArray | None:
    return np.array(values, dtype=np.str_) if any(values) else None
