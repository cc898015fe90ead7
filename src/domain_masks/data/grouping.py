"""Split images in groups that must stay together: the images of a patient, of a camera, of a video.

Every group goes to one part. Domains that share groups are divided together, all others separately, so
that they do not depend on each other. Within such a set of domains the groups are placed one by one, in an order keyed
by the split seed, where they increase the squared deviation from the target shares least:

    sum over parts p and cells c of (images of c in p - share_p * images of c)^2 / (share_p * images of c)

where the cells are each domain's classes, and each domain as a whole with the weight of all its classes. Then few or
unequal groups are corrected: every class of a domain gets a training image and every part a group of each domain where
that is possible, and groups are moved as long as the deviation falls. All sums are whole numbers, so that the division
is the same on every machine and with every version of numpy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from domain_masks.data.dataset import ImageDataset, Int64Array, TextArray
from domain_masks.errors import InputError
from domain_masks.sampling import keyed_permutation

_SCALE = 2**24
_SWEEPS = 4
_TRAIN = 0
_REQUIRED = 2
_SHOWN = 5


@dataclass(frozen=True)
class GroupedImages:
    """Images to divide, one row each.

    - ``groups``: (N,) names of the groups
    - ``domains``, ``labels``: (N,) int64
    - ``domain_names``: the names that ``domains`` are indices into; they key the order
    """

    groups: TextArray
    domains: Int64Array
    labels: Int64Array
    domain_names: Sequence[str]


def divide_groups(images: GroupedImages, tenths: tuple[int, ...], split_seed: int) -> Int64Array:
    """Return the part of every image, (N,) int64: 0 is training, and part p gets about ``tenths[p]`` / 10 of all images.

    Equal arguments give equal divisions, in any order of the rows. Where groups are too few or too large, parts
    may stay empty. The order of priority is: a group of every domain in the first two parts (training and validation), a
    training image of every class, a group of every domain in the third part, the shares.
    """
    parts = np.zeros(len(images.groups), dtype=np.int64)
    group_of = np.unique(images.groups, return_inverse=True)[1]
    for together in _linked_domains(group_of, images.domains):
        rows = np.flatnonzero(np.isin(images.domains, together))
        present, group = np.unique(group_of[rows], return_inverse=True)
        stream = "split/groups/" + "/".join(sorted(images.domain_names[domain] for domain in together))
        division = _Division(group, images.domains[rows], images.labels[rows], tenths)
        division.divide(keyed_permutation(len(present), split_seed, stream).tolist())
        parts[rows] = division.part_of[group]
    return parts


def check_enough_groups(dataset_name: str, images: GroupedImages, parts: int) -> None:
    """Raise one InputError for all domains that have fewer groups than parts."""
    present = np.unique(images.domains).tolist()
    counts = {
        images.domain_names[domain]: len(np.unique(images.groups[images.domains == domain])) for domain in present
    }
    few = [f"{name!r} has {count}" for name, count in counts.items() if count < parts]
    if few:
        purpose = "training, validation and test" if parts == 3 else "training and validation"
        raise InputError(
            f"dataset {dataset_name!r}: expected at least {parts} groups in every source domain, one each for {purpose}, "
            f"but {', '.join(few)}; add groups, give official splits, or leave the domain out"
        )


def check_groups_are_whole(dataset: ImageDataset, splits: TextArray) -> None:
    """Raise InputError, which names the first groups, if official splits divide groups."""
    if dataset.groups is None:
        return
    pairs = np.unique(np.stack([dataset.groups, splits], axis=1), axis=0)
    names, counts = np.unique(pairs[:, 0], return_counts=True)
    if len(torn := names[counts > 1]):
        raise InputError(
            f"dataset {dataset.name!r}: expected every group in one of the official splits, but {_shown(torn)} "
            "in several; put each into one split, or remove the split column to draw splits"
        )


def check_groups_do_not_leak(
    dataset: ImageDataset, sources: Sequence[str], targets: Sequence[str], rows: tuple[Int64Array, Int64Array]
) -> None:
    """Raise InputError if a group has images among both ``rows``: those of the sources, and the held-out ones."""
    if dataset.groups is None:
        return
    leaking = np.intersect1d(dataset.groups[rows[0]], dataset.groups[rows[1]])
    if len(leaking):
        raise InputError(
            f"dataset {dataset.name!r}: {_shown(leaking)} in a source ({', '.join(sources)}) and held out with "
            f"{', '.join(targets)}: what is learned about a group would help to recognise it; leave its images out of "
            "one of the two, or hold out all domains of the group together"
        )


def _shown(groups: TextArray) -> str:
    names = ", ".join(repr(str(name)) for name in groups[:_SHOWN])
    return (
        f"{len(groups)} group{'s are' if len(groups) > 1 else ' is'} ({names}{', ...' if len(groups) > _SHOWN else ''})"
    )


def _linked_domains(group_of: Int64Array, domains: Int64Array) -> list[list[int]]:
    """Return sets of domains such that no group is in two sets."""
    sets: list[set[int]] = [{domain} for domain in np.unique(domains).tolist()]
    pairs = np.unique(np.stack([group_of, domains], axis=1), axis=0)
    shared = np.flatnonzero(pairs[1:, 0] == pairs[:-1, 0])
    for first, second in np.unique(np.stack([pairs[shared, 1], pairs[shared + 1, 1]], axis=1), axis=0).tolist():
        linked = [members for members in sets if first in members or second in members]
        sets = [members for members in sets if members not in linked] + [set().union(*linked)]
    return [sorted(members) for members in sets]


class _Division:
    """The assignment of groups to parts; ``part_of`` is (G,) int64, -1 for a group that is not assigned yet.

    A cell is a class of a domain, or a domain as a whole; ``_filled`` counts its images in every part, (P, C).
    """

    def __init__(self, group: Int64Array, domains: Int64Array, labels: Int64Array, tenths: tuple[int, ...]) -> None:
        pairs, class_cells = np.unique(np.stack([domains, labels], axis=1), axis=0, return_inverse=True)
        domain_of_class, domain_cells = np.unique(pairs[:, 0], return_inverse=True)
        classes, count = len(pairs), len(domain_of_class)
        cells = np.concatenate([class_cells.reshape(-1), classes + domain_cells[class_cells.reshape(-1)]])
        entries, sizes = np.unique(np.stack([np.tile(group, 2), cells], axis=1), axis=0, return_counts=True)
        groups = int(group.max()) + 1
        cuts = np.searchsorted(entries[:, 0], np.arange(1, groups))
        self.part_of: Int64Array = np.full(groups, -1, dtype=np.int64)
        self._cells = np.split(entries[:, 1], cuts)
        by_cell = entries[np.argsort(entries[:, 1], kind="stable")]
        self._groups_of = np.split(by_cell[:, 0], np.searchsorted(by_cell[:, 1], np.arange(1, classes + count)))
        self._sizes = np.split(sizes.astype(np.int64), cuts)
        self._class_cells = range(classes)
        self._domain_cells = range(classes, classes + count)
        self._tenths = np.array(tenths, dtype=np.int64)[:, None]
        # Division by the share in whole numbers.
        self._inverse = math.lcm(*tenths) // np.array(tenths, dtype=np.int64)
        self._total = np.bincount(cells, minlength=classes + count).astype(np.int64)
        self._weight = np.maximum(1, _SCALE // self._total)
        self._weight[classes:] *= np.bincount(domain_cells, minlength=count)
        self._filled = np.zeros((len(tenths), classes + count), dtype=np.int64)

    def divide(self, order: list[int]) -> None:
        """Assign every group to a part, in this order; then correct."""
        for group in order:
            self._place(group, int(np.argmin(self._costs(group))))
        rank = {group: position for position, group in enumerate(order)}
        for cell in self._class_cells:
            self._fetch(cell, _TRAIN, rank, even_if_missed=True)
        for part in range(len(self._tenths)):
            for cell in self._domain_cells:
                self._fetch(cell, part, rank)
        for _ in range(_SWEEPS):
            if not sum(self._improve(group) for group in order):
                break

    def _place(self, group: int, part: int) -> None:
        self._take_out(group)
        self._filled[part, self._cells[group]] += self._sizes[group]
        self.part_of[group] = part

    def _take_out(self, group: int) -> int:
        part = int(self.part_of[group])
        if part >= 0:
            self._filled[part, self._cells[group]] -= self._sizes[group]
            self.part_of[group] = -1
        return part

    def _costs(self, group: int) -> Int64Array:
        """Return the increase of the deviation if the unassigned group went to each part: (P,)."""
        cells, sizes = self._cells[group], self._sizes[group]
        excess = 20 * self._filled[:, cells] + 10 * sizes - 2 * self._tenths * self._total[cells]
        costs: Int64Array = (excess * (self._weight[cells] * sizes)).sum(axis=1) * self._inverse
        return costs

    def _needs(self, group: int) -> list[int]:
        """Return how many cells of each part the unassigned group would fill first, weighted by priority: (P,)."""
        cells = self._cells[group]
        empty = self._filled[:, cells] == 0
        whole = cells >= len(self._class_cells)
        factor = len(self._total)
        needs = [int(count) for count in (empty & whole).sum(axis=1)]
        needs[:_REQUIRED] = [factor**2 * count for count in needs[:_REQUIRED]]
        needs[_TRAIN] += factor * int((empty[_TRAIN] & ~whole).sum())
        return needs

    def _gain(self, group: int, part: int) -> tuple[int, int]:
        """Return the changes of unmet needs and of the deviation if the group moved to ``part``; below (0, 0) improves."""
        before = self._take_out(group)
        needs, costs = self._needs(group), self._costs(group)
        self._place(group, before)
        return needs[before] - needs[part], int(costs[part] - costs[before])

    def _fetch(self, cell: int, part: int, rank: dict[int, int], even_if_missed: bool = False) -> None:
        """Move the best group of a cell to ``part``, if the cell has none there."""
        if self._filled[part, cell]:
            return
        gains = {group: self._gain(group, part) for group in self._groups_of[cell].tolist()}
        best = min(gains, key=lambda group: (gains[group], rank[group]))
        if even_if_missed or gains[best] < (0, 0):
            self._place(best, part)

    def _improve(self, group: int) -> bool:
        """Move the group to its best part; return whether it moved."""
        before = self._take_out(group)
        needs, costs = self._needs(group), self._costs(group).tolist()
        best = min(range(len(costs)), key=lambda part: (-needs[part], costs[part], part != before))
        self._place(group, best)
        return best != before
