"""Which pictures are trained on, which choose the epoch, and which measure: in domain and out of domain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from domain_masks.data.dataset import ImageDataset, Int64Array, Subset
from domain_masks.data.ordering import keyed_permutation
from domain_masks.errors import InputError, unknown


@dataclass(frozen=True)
class DomainSplits:
    """A dataset divided for one experiment.

    - ``sources``: the domains trained on, in the dataset's order: the order of the masks' rows
    - ``targets``: the held-out domains, in the dataset's order
    - ``train``, ``validation``: pictures of the sources
    - ``test``: pictures of the sources for in-domain accuracy; None where the official lists have none (PACS)
    - ``held_out``: the pictures for out-of-domain accuracy; empty where no domain is held out
    """

    dataset: ImageDataset
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    train: Subset
    validation: Subset
    test: Subset | None
    held_out: Subset


def source_positions(dataset: ImageDataset, sources: Sequence[str], domain_indices: Int64Array) -> Int64Array:
    """Return each picture's position in ``sources``, (N,) int64.

    Raises InputError if a picture is of a domain that is not a source: there is no position for it.
    """
    table = np.full(len(dataset.domains), -1, dtype=np.int64)
    for position, name in enumerate(sources):
        if name not in dataset.domains:
            raise unknown("domain", name, dataset.domains)
        table[dataset.domains.index(name)] = position
    positions: Int64Array = table[domain_indices]
    if (positions < 0).any():
        stranger = dataset.domains[int(domain_indices[positions < 0][0])]
        raise InputError(
            f"expected pictures of the sources {', '.join(sources)} only, got one of {stranger!r}; "
            "give no sources for pictures of held-out domains"
        )
    return positions


def split_domains(dataset: ImageDataset, targets: Sequence[str], split_seed: int = 0) -> DomainSplits:
    """Hold out ``targets`` and divide the other domains into training, validation and in-domain test pictures.

    Official splits are used where the dataset has them; the held-out pictures are then the official test list, or every
    picture of the targets if there is no such list. Otherwise each source is divided 80/10/10, stratified by class (see
    :func:`divided`), and every picture of the targets is held out. ``targets`` may be empty: train on all domains.
    Raises InputError for an unknown, repeated or empty target, for fewer than two sources, and for a source without
    training or validation pictures.
    """
    sources, held = _sources_and_targets(dataset, targets)
    rows = {name: np.flatnonzero(dataset.domain_indices == index) for index, name in enumerate(dataset.domains)}
    for name in held:
        if len(rows[name]) == 0:
            raise InputError(
                f"held-out domain {name!r} of dataset {dataset.name!r} has no pictures: hold out another one"
            )
    if dataset.splits is not None:
        parts = _official(dataset.splits, [rows[name] for name in sources])
        held_out = _concatenated([rows[name] for name in held])
        if (dataset.splits == "test").any():
            held_out = held_out[dataset.splits[held_out] == "test"]
        has_test = bool((dataset.splits == "test").any())
    else:
        divisions = [divided(dataset.labels[rows[name]], split_seed, name, dataset.classes) for name in sources]
        parts = tuple(
            _concatenated([rows[name][division[part]] for name, division in zip(sources, divisions, strict=True)])
            for part in range(3)
        )
        held_out = _concatenated([rows[name] for name in held])
        has_test = True
    train, validation, test = (Subset(dataset, part) for part in parts)
    _check_sources(dataset, sources, train, validation)
    return DomainSplits(
        dataset, sources, held, train, validation, test if has_test else None, Subset(dataset, held_out)
    )


def divided(
    labels: Int64Array, split_seed: int, domain: str, classes: Sequence[str]
) -> tuple[Int64Array, Int64Array, Int64Array]:
    """Divide the pictures of one domain 80/10/10 into training, validation and test positions, each sorted.

    Every class is shuffled by a key of its own, (split_seed, domain, class). A tenth of each class goes to validation
    and a tenth to test, in whole pictures; what is left over is carried to the next class, so that classes of few
    pictures still give the domain its tenth, rounded half up (and one picture at least, where a class can spare it).
    Every class keeps at least one training picture.
    """
    shuffled = {}
    for index in np.unique(labels).tolist():
        positions = np.flatnonzero(labels == index)
        stream = f"split/{domain}/{classes[index]}"
        shuffled[index] = positions[keyed_permutation(len(positions), split_seed, stream)]
    present = list(shuffled)
    sizes = [len(shuffled[index]) for index in present]
    validation = _tenths(sizes, [size - 1 for size in sizes])
    # Backwards, so that among small classes it is not the same ones that give to validation and to test.
    spare = [size - 1 - taken for size, taken in zip(sizes, validation, strict=True)]
    test = _tenths(sizes[::-1], spare[::-1])[::-1]
    parts: tuple[list[Int64Array], ...] = ([], [], [])
    for index, first, second in zip(present, validation, test, strict=True):
        cuts = np.split(shuffled[index], [first, first + second])
        for part, positions in zip((1, 2, 0), cuts, strict=True):
            parts[part].append(positions)
    train, validating, testing = (np.sort(_concatenated(part)) for part in parts)
    return train, validating, testing


def _tenths(sizes: list[int], limits: list[int]) -> list[int]:
    """Return about a tenth of each size, none above its limit, carrying remainders on; the sum is rounded half up."""
    carry = max(5, 10 - sum(sizes))
    taken = [0] * len(sizes)
    # The second round gives what classes at their limit could not to those that can.
    for gained in (sizes, [0] * len(sizes)):
        for index, gain in enumerate(gained):
            carry += gain
            more = min(carry // 10, limits[index] - taken[index])
            taken[index] += more
            carry -= 10 * more
    return taken


def _sources_and_targets(dataset: ImageDataset, targets: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if isinstance(targets, str):
        raise InputError(f"expected a list of held-out domains, got the text {targets!r}: put it in a list")
    for name in targets:
        if name not in dataset.domains:
            raise unknown("domain", name, dataset.domains)
    if len(set(targets)) != len(targets):
        raise InputError(f"expected every held-out domain once, got {', '.join(targets)}: remove the repeated ones")
    sources = tuple(name for name in dataset.domains if name not in targets)
    if len(sources) < 2:
        raise InputError(
            f"expected at least two source domains to train on, got {len(sources)}: dataset {dataset.name!r} has "
            f"{', '.join(dataset.domains)}, held out {', '.join(targets) or 'none'}; hold out fewer or add domains"
        )
    return sources, tuple(name for name in dataset.domains if name in targets)


def _official(splits: npt.NDArray[np.str_], rows: list[Int64Array]) -> tuple[Int64Array, ...]:
    everything = _concatenated(rows)
    return tuple(everything[splits[everything] == name] for name in ("train", "val", "test"))


def _concatenated(parts: list[Int64Array]) -> Int64Array:
    return np.concatenate([np.empty(0, dtype=np.int64), *parts])


def _check_sources(dataset: ImageDataset, sources: tuple[str, ...], train: Subset, validation: Subset) -> None:
    for purpose, subset in (("training", train), ("validation", validation)):
        lacking = [name for name in sources if name not in subset.domain_names]
        if lacking:
            raise InputError(
                f"source domain {lacking[0]!r} of dataset {dataset.name!r} has no {purpose} pictures: "
                "expected at least one class of two or more pictures in every domain; add pictures or leave it out"
            )
