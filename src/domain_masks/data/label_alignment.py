"""Reorder a dataset's classes and domains to match a model's, by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from domain_masks.data.dataset import ImageDataset, Int64Array
from domain_masks.errors import InputError

_SHOWN = 5


def aligned(dataset: ImageDataset, classes: Sequence[str], domains: Sequence[str], owner: str) -> ImageDataset:
    """Return ``dataset`` with its classes and domains in the order of ``classes`` and ``domains``, matched by name.

    Classes that the dataset lacks keep their index; domains without images do not. ``owner`` names the run or
    model in messages.

    Raises InputError that names the classes, or the domains, of the dataset that the model does not know.
    """
    for kind, plural, names, known, column in (
        ("class", "classes", dataset.classes, classes, dataset.labels),
        ("domain", "domains", dataset.domains, domains, dataset.domain_indices),
    ):
        if strange := _strange(kind, names, known, column, dataset):
            raise InputError(
                f"dataset {dataset.name!r} has other {plural} than {owner}: {', '.join(strange)}; expected {_listed(known)}. "
                "Remove these images from the dataset to use the others, or train with them in another folder (--out)"
            )
    there = [name for name in domains if name in dataset.domains]
    return replace(
        dataset,
        classes=tuple(classes),
        domains=tuple(there),
        labels=_positions(dataset.classes, classes)[dataset.labels],
        domain_indices=_positions(dataset.domains, there)[dataset.domain_indices],
    )


def lost_classes(dataset: ImageDataset, classes: Sequence[str]) -> tuple[str, ...]:
    """Return which of ``classes`` the dataset has no image of."""
    present = {dataset.classes[index] for index in np.unique(dataset.labels).tolist()}
    return tuple(name for name in classes if name not in present)


def _positions(before: Sequence[str], after: Sequence[str]) -> Int64Array:
    place = {name: index for index, name in enumerate(after)}
    return np.array([place.get(name, -1) for name in before], dtype=np.int64)


def _strange(
    kind: str, names: Sequence[str], known: Sequence[str], column: Int64Array, dataset: ImageDataset
) -> list[str]:
    strange = []
    for name in names:
        rows = column == names.index(name)
        # A name without images does no harm.
        if name in known or not rows.any():
            continue
        where = "" if kind == "domain" else " in " + _listed(_domains_of(dataset, rows))
        count = int(rows.sum())
        strange.append(f"a {kind} {name!r} ({count} image{'s' * (count > 1)}{where})")
    return [*strange[:_SHOWN], *([f"{len(strange) - _SHOWN} more"] if len(strange) > _SHOWN else [])]


def _domains_of(dataset: ImageDataset, rows: np.ndarray) -> list[str]:
    return [dataset.domains[index] for index in np.unique(dataset.domain_indices[rows]).tolist()]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f", ... ({len(names) - _SHOWN} more)" if len(names) > _SHOWN else "")
