"""Splits of a dataset: training, validation (selects the epoch), in-domain test and held-out images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from domain_masks.data.dataset import SPLIT_NAMES, ImageDataset, Int64Array, Subset
from domain_masks.data.grouping import (
    GroupedImages,
    check_enough_groups,
    check_groups_are_whole,
    check_groups_do_not_leak,
    divide_groups,
)
from domain_masks.data.validation_halves import check_in_domain_test, halved, has_own_test
from domain_masks.errors import InputError, unknown
from domain_masks.records.results import OFFICIAL, VALIDATION_HALF
from domain_masks.sampling import keyed_permutation

_EIGHTY_TEN_TEN = (8, 1, 1)
_NINETY_TEN = (9, 1)


@dataclass(frozen=True)
class DomainSplits:
    """A dataset divided for one experiment.

    - ``sources``: the domains trained on, in the dataset's order: the order of the masks' rows
    - ``targets``: the held-out domains, in the dataset's order
    - ``train``, ``validation``: images of the sources
    - ``test``: images of the sources, for in-domain accuracy; None where there is no official test list (PACS), unless drawn
    - ``held_out``: the images for out-of-domain accuracy; empty where no domain is held out
    """

    dataset: ImageDataset
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    train: Subset
    validation: Subset
    test: Subset | None
    held_out: Subset


def untrained_classes(splits: DomainSplits) -> list[str]:
    """Return a sentence where held-out images are of classes that no training image shows, else nothing.

    Such images cannot be classified correctly; mostly the domains name the same classes in different ways.
    """
    held_out = splits.held_out.labels
    missing = np.setdiff1d(held_out, splits.train.labels)
    if not missing.size:
        return []
    classes = splits.dataset.classes
    named = ", ".join(repr(classes[label]) for label in missing[:3])
    more = f" and {missing.size - 3} more" if missing.size > 3 else ""
    concerned = int(np.isin(held_out, missing).sum())
    return [
        f"no training image shows {'class' if missing.size == 1 else 'classes'} {named}{more}: {concerned} of "
        f"{held_out.size} held-out images cannot be classified correctly. Rename the classes where the domains name "
        "them in different ways, or leave these images out"
    ]


def unmeasured_sources(splits: DomainSplits) -> list[str]:
    """Return a sentence where some sources have in-domain test images and others have none, else nothing.

    Accuracy in domain and with the domain known is the mean over the former alone.
    """
    if splits.test is None or not len(splits.test):
        return []
    domains = splits.dataset.domains
    missing = [name for name in splits.sources if domains.index(name) not in splits.test.domain_indices]
    if not missing:
        return []
    several = len(missing) > 1
    return [
        f"source{'s' if several else ''} {', '.join(map(repr, missing))} without in-domain test images: accuracy in domain and "
        f"with the domain known is that of the other {len(splits.sources) - len(missing)}. Give {'them' if several else 'it'} "
        "test images, or leave out those of all sources"
    ]


def source_positions(dataset: ImageDataset, sources: Sequence[str], domain_indices: Int64Array) -> Int64Array:
    """Return each image's position in ``sources``, (N,) int64.

    Raises InputError if an image is of a domain that is not a source: there is no position for it.
    """
    table = np.full(len(dataset.domains), -1, dtype=np.int64)
    for position, name in enumerate(sources):
        if name not in dataset.domains:
            raise unknown("domain", name, dataset.domains)
        table[dataset.domains.index(name)] = position
    positions: Int64Array = table[domain_indices]
    if (positions < 0).any():
        foreign = dataset.domains[int(domain_indices[positions < 0][0])]
        raise InputError(
            f"expected images of the sources {', '.join(sources)} only, got one of {foreign!r}; "
            "give no sources for images of held-out domains"
        )
    return positions


def check_held_out(dataset: ImageDataset, targets: Sequence[str], fewest_sources: int = 2) -> None:
    """Raise InputError, as :func:`split_domains` does, for targets that cannot be held out; nothing is divided."""
    _sources_and_targets(dataset, targets, fewest_sources)


def split_domains(
    dataset: ImageDataset,
    targets: Sequence[str],
    split_seed: int = 0,
    fewest_sources: int = 2,
    in_domain_test: str = OFFICIAL,
) -> DomainSplits:
    """Hold out ``targets`` and divide the other domains into training, validation and in-domain test images.

    Official splits are used where the dataset has them; the held-out images are then the official test list, or every
    image of the targets if there is no such list. Where they have no validation list, a tenth of each source's
    training list is drawn for it. Without official splits each source is divided 80/10/10, and every image of the
    targets is held out. Draws are stratified by class and depend on ``split_seed`` (see :func:`divided`); groups are
    never divided (see :func:`divide_groups`). ``targets`` may be empty: train on all domains.
    ``fewest_sources`` is the least number of sources; 1 allows a single one (single-source generalisation).
    ``in_domain_test`` is "official", or "validation-half" to divide the validation images of a dataset without test images into
    validation and test (see :func:`~domain_masks.data.validation_halves.halved`).

    Raises InputError for an unknown, repeated or empty target, one without images in the official test list among
    them, for too few sources, for a source without training or validation images or with too few groups, and for groups
    that official splits divide or that are in a held-out domain and in a source.
    """
    sources, held = _sources_and_targets(dataset, targets, fewest_sources)
    check_in_domain_test(dataset, in_domain_test)
    rows = {name: np.flatnonzero(dataset.domain_indices == index) for index, name in enumerate(dataset.domains)}
    for name in held:
        if len(rows[name]) == 0:
            raise InputError(
                f"held-out domain {name!r} of dataset {dataset.name!r} has no images: hold out another one"
            )
    held_out = _concatenated([rows[name] for name in held])
    splits = dataset.splits
    if splits is None:
        parts = _drawn(dataset, {name: rows[name] for name in sources}, _EIGHTY_TEN_TEN, split_seed)
    else:
        check_groups_are_whole(dataset, splits)
        everything = _concatenated([rows[name] for name in sources])
        parts = [everything[splits[everything] == name] for name in SPLIT_NAMES]
        if not (splits == "val").any():
            listed = {name: rows[name][splits[rows[name]] == "train"] for name in sources}
            parts[:2] = _drawn(dataset, listed, _NINETY_TEN, split_seed)
        if (splits == "test").any():
            held_out = held_out[splits[held_out] == "test"]
            _check_targets(dataset, held, Subset(dataset, held_out))
    train, validation, test = (Subset(dataset, part) for part in parts)
    _check_sources(dataset, sources, train, validation)
    drawn_from = parts if splits is None else parts[:2]
    check_groups_do_not_leak(dataset, sources, held, (_concatenated(drawn_from), held_out))
    has_test = has_own_test(dataset)
    if in_domain_test == VALIDATION_HALF:
        has_test = True
        validation, test = (Subset(dataset, part) for part in halved(dataset, parts[1], sources, split_seed))
    return DomainSplits(
        dataset, sources, held, train, validation, test if has_test else None, Subset(dataset, held_out)
    )


def _drawn(
    dataset: ImageDataset, rows: dict[str, Int64Array], tenths: tuple[int, ...], split_seed: int
) -> list[Int64Array]:
    """Divide the rows of every source by ``tenths``; return the parts, each in the order of the sources."""
    if dataset.groups is None:
        stream = "split" if len(tenths) == len(SPLIT_NAMES) else "validation"
        whole = [
            _divided(dataset.labels[own], split_seed, f"{stream}/{name}", dataset.classes, len(tenths) - 1)
            for name, own in rows.items()
        ]
        return [
            _concatenated([own[division[part]] for own, division in zip(rows.values(), whole, strict=True)])
            for part in range(len(tenths))
        ]
    everything = _concatenated(list(rows.values()))
    images = GroupedImages(
        dataset.groups[everything], dataset.domain_indices[everything], dataset.labels[everything], dataset.domains
    )
    check_enough_groups(dataset.name, images, len(tenths))
    part_of = divide_groups(images, tenths, split_seed)
    return [everything[part_of == part] for part in range(len(tenths))]


def divided(
    labels: Int64Array, split_seed: int, domain: str, classes: Sequence[str]
) -> tuple[Int64Array, Int64Array, Int64Array]:
    """Divide the images of one domain 80/10/10 into training, validation and test positions, each sorted.

    Every class is shuffled by a key of its own, (split_seed, domain, class). A tenth of each class goes to validation
    and a tenth to test, in whole images; the remainder is carried to the next class, so that small classes still give
    the domain its tenth, rounded half up (and one image at least, where a class can spare it).
    Every class keeps at least one training image.
    """
    train, validation, test = _divided(labels, split_seed, f"split/{domain}", classes, 2)
    return train, validation, test


def _divided(labels: Int64Array, split_seed: int, stream: str, classes: Sequence[str], tenths: int) -> list[Int64Array]:
    """Draw one or two tenths out of the images of one domain; return the remaining positions and each tenth."""
    shuffled = {}
    for index in np.unique(labels).tolist():
        positions = np.flatnonzero(labels == index)
        shuffled[index] = positions[keyed_permutation(len(positions), split_seed, f"{stream}/{classes[index]}")]
    sizes = [len(positions) for positions in shuffled.values()]
    taken = [_tenths(sizes, [size - 1 for size in sizes])]
    if tenths == 2:
        # In reverse order, so that validation and test do not draw from the same small classes.
        spare = [size - 1 - first for size, first in zip(sizes, taken[0], strict=True)]
        taken.append(_tenths(sizes[::-1], spare[::-1])[::-1])
    parts: list[list[Int64Array]] = [[] for _ in range(tenths + 1)]
    for positions, *counts in zip(shuffled.values(), *taken, strict=True):
        *drawn, left = np.split(positions, np.cumsum(counts))
        for part, own in zip(parts, [left, *drawn], strict=True):
            part.append(own)
    return [np.sort(_concatenated(part)) for part in parts]


def _tenths(sizes: list[int], limits: list[int]) -> list[int]:
    """Return about a tenth of each size, none above its limit, carrying remainders over; the sum is rounded half up."""
    carry = max(5, 10 - sum(sizes))
    taken = [0] * len(sizes)
    # The second round moves the surplus of classes at their limit to the others.
    for gained in (sizes, [0] * len(sizes)):
        for index, gain in enumerate(gained):
            carry += gain
            more = min(carry // 10, limits[index] - taken[index])
            taken[index] += more
            carry -= 10 * more
    return taken


def domains_named(names: Sequence[str], domains: Sequence[str]) -> tuple[str, ...]:
    """Return the domains among ``domains`` that are named by a text that was split at its commas.

    Names of domains are returned unchanged. Otherwise adjacent parts are joined into names of domains, which may contain
    commas themselves: "Berlin, Mitte,Wien" names the domains "Berlin, Mitte" and "Wien". ``none`` alone, unless a domain has
    that name, means no domain. Names that are no domains are returned unchanged, split.
    """
    if all(name in domains for name in names):
        return tuple(names)
    words = tuple(word for name in names for word in _words(name))
    by_words = {_words(domain): domain for domain in domains}
    joined = _put_together(words, by_words)
    if joined is None:
        return () if words == ("none",) else words
    return joined


def _words(name: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in name.split(",") if word.strip())


def _put_together(words: tuple[str, ...], by_words: Mapping[tuple[str, ...], str]) -> tuple[str, ...] | None:
    """Return the names whose words, one name after the other, are ``words``; the longest first, None if there are none."""
    if not words:
        return ()
    for count in range(len(words), 0, -1):
        if words[:count] in by_words:
            rest = _put_together(words[count:], by_words)
            if rest is not None:
                return (by_words[words[:count]], *rest)
    return None


def _sources_and_targets(
    dataset: ImageDataset, targets: Sequence[str], fewest_sources: int
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if isinstance(targets, str):
        raise InputError(f"expected a list of held-out domains, got the text {targets!r}: put it in a list")
    for name in targets:
        if name not in dataset.domains:
            raise unknown("domain", name, dataset.domains)
    if len(set(targets)) != len(targets):
        raise InputError(f"expected every held-out domain once, got {', '.join(targets)}: remove the repeated ones")
    sources = tuple(name for name in dataset.domains if name not in targets)
    if len(sources) < fewest_sources:
        wanted = (
            "two source domains"
            if fewest_sources == 2
            else f"{fewest_sources} source domain" + "s" * (fewest_sources > 1)
        )
        hint = "; or train a method that one source is enough for, such as aggregate" if len(sources) == 1 else ""
        raise InputError(
            f"expected at least {wanted} to train on, got {len(sources)}: dataset {dataset.name!r} has "
            f"{', '.join(dataset.domains)}, held out {', '.join(targets) or 'none'}; hold out fewer or add domains{hint}"
        )
    return sources, tuple(name for name in dataset.domains if name in targets)


def _concatenated(parts: list[Int64Array]) -> Int64Array:
    return np.concatenate([np.empty(0, dtype=np.int64), *parts])


def _check_targets(dataset: ImageDataset, held: tuple[str, ...], held_out: Subset) -> None:
    lacking = [repr(name) for name in held if name not in held_out.domain_names]
    if lacking:
        several = len(lacking) > 1
        raise InputError(
            f"held-out domain{'s' * several} {', '.join(lacking)} of dataset {dataset.name!r} "
            f"{'have' if several else 'has'} no images in the official split test, which others have: expected images "
            "to measure; put some of the domain into test, or hold out another one"
        )


def _check_sources(dataset: ImageDataset, sources: tuple[str, ...], train: Subset, validation: Subset) -> None:
    if dataset.splits is not None and (dataset.splits == "val").any():
        expected = "the official splits to give every domain images of both; add them, or leave the domain out"
    elif dataset.groups is not None:
        expected = "groups small enough to divide every domain; add groups or leave it out"
    else:
        expected = "at least one class of two or more images in every domain; add images or leave it out"
    for purpose, subset in (("training", train), ("validation", validation)):
        lacking = [name for name in sources if name not in subset.domain_names]
        if lacking:
            raise InputError(
                f"source domain {lacking[0]!r} of dataset {dataset.name!r} has no {purpose} images: expected {expected}"
            )
