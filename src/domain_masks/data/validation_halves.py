"""An in-domain test split for datasets without one: half of the validation images, which then choose nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from domain_masks.data.dataset import ImageDataset, Int64Array
from domain_masks.data.grouping import GroupedImages, divide_groups
from domain_masks.errors import InputError
from domain_masks.records.results import OFFICIAL
from domain_masks.sampling import keyed_permutation


def has_own_test(dataset: ImageDataset) -> bool:
    """Whether a dataset has in-domain test images: an official list, or a tenth of each source where there are no lists."""
    return dataset.splits is None or bool((dataset.splits == "test").any())


def check_in_domain_test(dataset: ImageDataset, in_domain_test: str) -> None:
    """Raise InputError where validation images are to be divided although the dataset has test images."""
    if in_domain_test != OFFICIAL and has_own_test(dataset):
        which = "a part of each source that is drawn for it" if dataset.splits is None else "an official test list"
        raise InputError(
            f"in_domain_test: {in_domain_test!r} is for datasets without in-domain test images, and {dataset.name!r} has "
            f"{which}: leave it out"
        )


def halved(
    dataset: ImageDataset, rows: Int64Array, sources: Sequence[str], split_seed: int
) -> tuple[Int64Array, Int64Array]:
    """Divide validation images into those that select and those that test.

    Each class of each domain is shuffled by a key of its own, (split_seed, domain, class), and halved; the odd image of a class
    goes to each part in turn, the last one of a domain to selection. So the halves of a domain do not depend on the others, nor
    on what is held out. Groups are not divided: they are placed by :func:`~domain_masks.data.grouping.divide_groups`.

    - ``rows``: (N,) rows of the dataset, of the domains ``sources``
    - returns: the rows of both parts, in the order of ``rows``

    Raises InputError, which names the domains, where one would have no images in one of the parts.
    """
    if dataset.groups is None:
        tests = _stratified_half(dataset, rows, split_seed)
    else:
        images = GroupedImages(
            dataset.groups[rows], dataset.domain_indices[rows], dataset.labels[rows], dataset.domains
        )
        tests = divide_groups(images, (5, 5), split_seed) == 1
    parts = rows[~tests], rows[tests]
    lacking = [
        name
        for name in sources
        if any(dataset.domains.index(name) not in dataset.domain_indices[part] for part in parts)
    ]
    if lacking:
        kind = "image" if dataset.groups is None else "group"
        raise InputError(
            f"in_domain_test: the validation images of {', '.join(map(repr, lacking))} in dataset {dataset.name!r} cannot be "
            f"divided: expected two or more {kind}s in every source domain. Leave in_domain_test out, or give the dataset a "
            "test list"
        )
    return parts


def _stratified_half(
    dataset: ImageDataset, rows: Int64Array, split_seed: int
) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    tests = np.zeros(len(rows), dtype=np.bool_)
    domains, labels = dataset.domain_indices[rows], dataset.labels[rows]
    for domain in np.unique(domains).tolist():
        odd = 0
        for label in np.unique(labels[domains == domain]).tolist():
            positions = np.flatnonzero((domains == domain) & (labels == label))
            stream = f"validation-half/{dataset.domains[domain]}/{dataset.classes[label]}"
            count, odd = divmod(len(positions) + odd, 2)
            tests[positions[keyed_permutation(len(positions), split_seed, stream)[:count]]] = True
    return tests
