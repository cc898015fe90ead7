"""Labelled images of several domains, and views of some of their rows."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from domain_masks.data.openers import rows_of
from domain_masks.data.packed_texts import PackedTexts
from domain_masks.errors import InputError
from domain_masks.records.files import is_utf8

Int64Array = npt.NDArray[np.int64]
TextArray = npt.NDArray[np.str_]

SPLIT_NAMES = ("train", "val", "test")
SPLIT_OF_WORD = {**{name: name for name in SPLIT_NAMES}, "validation": "val", "valid": "val", "dev": "val"}
"""Names of splits in manifests and in Hugging Face datasets."""
SPLIT_OF_NAME = {**SPLIT_OF_WORD, "training": "train", "crossval": "val", "testing": "test"}
"""Names of folders and lists that hold one split each."""
HASH_BYTES = 16
_CHUNK = 65_536


@dataclass(frozen=True, eq=False)
class ImageDataset:
    """Labelled images of several domains; an image is opened only when it is needed.

    - ``name``: its name in reports
    - ``classes``, ``domains``: the names that labels and domain indices stand for
    - ``ids``: one unique relative path per row, such as "sketch/dog/5281.png"
    - ``labels``: (N,) int64, indices into ``classes``
    - ``domain_indices``: (N,) int64, indices into ``domains``
    - ``splits``: (N,) of "train", "val" or "test" where the dataset brings official ones, else None
    - ``open_image``: row -> opened image; can be pickled, so that worker processes may open images
    - ``fingerprint``: a hash of what the loader has read: names and labels, no images (see :func:`fingerprint_of`)
    - ``groups``: (N,) names of groups that no split may divide, such as patients or cameras; None without groups
    - ``notes``: remarks for the user, one sentence each, such as missing domains
    - ``contents``: (N, 16) uint8, a hash of the content of every image; None until
      :func:`~domain_masks.data.verification.identified` has read them

    Raises InputError if the columns' lengths, indices, ids or split names do not fit together, or the name of a class, a domain
    or a group is no UTF-8.
    """

    name: str
    classes: tuple[str, ...]
    domains: tuple[str, ...]
    ids: Sequence[str] = field(repr=False)
    labels: Int64Array = field(repr=False)
    domain_indices: Int64Array = field(repr=False)
    splits: TextArray | None = field(repr=False)
    open_image: Callable[[int], Image.Image] = field(repr=False)
    fingerprint: str
    groups: TextArray | None = field(default=None, repr=False)
    notes: tuple[str, ...] = field(default=(), repr=False)
    contents: npt.NDArray[np.uint8] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        count = len(self.ids)
        columns: dict[str, npt.NDArray[Any]] = {"labels": self.labels, "domain_indices": self.domain_indices}
        if self.splits is not None:
            columns["splits"] = self.splits
        if self.groups is not None:
            columns["groups"] = self.groups
        for name, column in columns.items():
            if column.shape != (count,):
                message = f"dataset {self.name!r}: expected {name} of shape ({count},), one per id, got {column.shape}"
                raise InputError(message)
        if self.contents is not None and self.contents.shape != (count, HASH_BYTES):
            shape = self.contents.shape
            raise InputError(f"dataset {self.name!r}: expected contents of shape ({count}, {HASH_BYTES}), got {shape}")
        self._check_names()
        self._check_indices("labels", self.labels, len(self.classes))
        self._check_indices("domain_indices", self.domain_indices, len(self.domains))
        # Texts with different hashes differ; a set of all ids would take more memory than the dataset.
        hashes = np.fromiter(map(hash, self.ids), np.int64, count)
        if len(np.unique(hashes)) != count and len(set(self.ids)) != count:
            seen: set[str] = set()
            twice = next(name for name in self.ids if name in seen or seen.add(name))  # type: ignore[func-returns-value]
            raise InputError(f"dataset {self.name!r}: expected unique ids, got {twice!r} more than once")
        if self.splits is not None and (odd := set(np.unique(self.splits).tolist()) - set(SPLIT_NAMES)):
            expected = ", ".join(SPLIT_NAMES)
            raise InputError(f"dataset {self.name!r}: expected splits named {expected}, got {sorted(odd)}")

    def _check_names(self) -> None:
        groups = () if self.groups is None else np.unique(self.groups).tolist()
        for kind, names in (("class", self.classes), ("domain", self.domains), ("group", groups)):
            if odd := [name for name in names if not is_utf8(name)]:
                raise InputError(
                    f"dataset {self.name!r}: expected names of classes, domains and groups in UTF-8, got the {kind} "
                    f"{odd[0]!r}, which cannot be written into results: rename it"
                )

    def _check_indices(self, name: str, column: Int64Array, bound: int) -> None:
        if column.dtype != np.int64:
            raise InputError(f"dataset {self.name!r}: expected {name} of type int64, got {column.dtype}")
        if column.size and (column.min() < 0 or column.max() >= bound):
            value_range = f"{column.min()} to {column.max()}"
            raise InputError(f"dataset {self.name!r}: expected {name} from 0 to {bound - 1}, got {value_range}")

    def __repr__(self) -> str:
        domains = ", ".join(self.domains)
        return f"ImageDataset({self.name}, {len(self):,} images of {len(self.classes)} classes; domains: {domains})"

    def __len__(self) -> int:
        return len(self.ids)


class Subset:
    """A view of some rows of a dataset, in a given order; no image is copied or read.

    ``indices`` is (N,) int64, rows of ``dataset``. Raises InputError if a row does not exist.
    """

    def __init__(self, dataset: ImageDataset, indices: Sequence[int] | Int64Array) -> None:
        self.dataset = dataset
        self.indices: Int64Array = np.asarray(indices, dtype=np.int64)
        if self.indices.ndim != 1:
            raise InputError(f"expected one dimension of row numbers, got shape {self.indices.shape}")
        if self.indices.size and (self.indices.min() < 0 or self.indices.max() >= len(dataset)):
            row_range = f"{self.indices.min()} to {self.indices.max()}"
            raise InputError(f"expected rows from 0 to {len(dataset) - 1} of dataset {dataset.name!r}, got {row_range}")

    def __len__(self) -> int:
        return len(self.indices)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.dataset.name}, {len(self)} of {len(self.dataset)} images)"

    @property
    def labels(self) -> Int64Array:
        """Class of each image, (N,) int64."""
        return self.dataset.labels[self.indices]

    @property
    def domain_indices(self) -> Int64Array:
        """Domain of each image, (N,) int64, indices into the dataset's ``domains``."""
        return self.dataset.domain_indices[self.indices]

    @property
    def domain_names(self) -> tuple[str, ...]:
        """Names of the domains that occur here, in the dataset's order."""
        return tuple(self.dataset.domains[index] for index in np.unique(self.domain_indices))

    @property
    def ids(self) -> tuple[str, ...]:
        """Id of each image, N of them."""
        return tuple(self.dataset.ids[row] for row in self.indices)


def ordered_names(names: Iterable[str]) -> tuple[str, ...]:
    """Return the distinct names in order: by value where all are whole numbers ("2" before "10"), else by character."""
    distinct = set(names)
    if all(re.fullmatch(r"[+-]?[0-9]+", name) for name in distinct):
        return tuple(sorted(distinct, key=lambda name: (int(name), name)))
    return tuple(sorted(distinct))


def positions_of(values: Sequence[str], names: Sequence[str]) -> Int64Array:
    """Return the position of every value in ``names``, (N,) int64."""
    table = {name: index for index, name in enumerate(names)}
    return np.array([table[value] for value in values], dtype=np.int64)


def fingerprint_of(names: Sequence[Sequence[str]], columns: Sequence[npt.NDArray[Any]], content: bytes = b"") -> str:
    """Return a hash of names, columns and ``content``, 32 hexadecimal digits."""
    digest = hashlib.blake2b(digest_size=16)
    for group in names:
        for start in range(0, len(group), _CHUNK):
            text = "\0".join(group[start : start + _CHUNK])
            digest.update((b"\0" if start else b"") + text.encode("utf-8", "surrogateescape"))
        digest.update(b"\1")
    for column in columns:
        digest.update(str(column.shape).encode() + np.ascontiguousarray(column).tobytes())
    digest.update(content)
    return digest.hexdigest()


def without_rows(dataset: ImageDataset, rows: Sequence[int]) -> ImageDataset:
    """Return ``dataset`` without some rows; classes and domains stay, the fingerprint changes."""
    if len(rows) == 0:
        return dataset
    keep = np.ones(len(dataset), dtype=np.bool_)
    keep[list(rows)] = False
    kept = np.flatnonzero(keep).tolist()
    return replace(
        dataset,
        ids=PackedTexts(dataset.ids[row] for row in kept),
        labels=dataset.labels[keep],
        domain_indices=dataset.domain_indices[keep],
        splits=None if dataset.splits is None else dataset.splits[keep],
        groups=None if dataset.groups is None else dataset.groups[keep],
        open_image=rows_of(dataset.open_image, kept),
        fingerprint=fingerprint_of([(dataset.fingerprint,)], [keep]),
        contents=None if dataset.contents is None else dataset.contents[keep],
    )
