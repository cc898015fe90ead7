"""Groups stay whole, shares and classes come out as well as groups allow, and the division repeats."""

from __future__ import annotations

from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from domain_masks.data import split_domains
from domain_masks.data.dataset import ImageDataset
from domain_masks.data.grouping import GroupedImages, divide_groups
from domain_masks.errors import InputError

THREE = (8, 1, 1)
TWO = (9, 1)
NAMES = ("a", "b", "c")


def images(groups, domains, labels):
    return GroupedImages(np.array([f"g{group}" for group in groups]), np.array(domains), np.array(labels), NAMES)


@st.composite
def drawn(draw, most_groups=12, most_domains=3, domains_share_groups=True):
    """Groups of 1 to 6 images, of one domain each or of several."""
    rows = []
    for group in range(draw(st.integers(1, most_groups))):
        home = draw(st.integers(0, most_domains - 1))
        for _ in range(draw(st.integers(1, 6))):
            domain = draw(st.integers(0, most_domains - 1)) if domains_share_groups else home
            rows.append((group, domain, draw(st.integers(0, 2))))
    return images(*zip(*rows, strict=True))


def deviation(given: GroupedImages, parts: np.ndarray, tenths: tuple[int, ...]) -> Fraction:
    """The sum in the module's description, restated without haste."""
    total = Fraction(0)
    for domain in set(given.domains.tolist()):
        here = given.domains == domain
        classes = sorted(set(given.labels[here].tolist()))
        cells = [(here & (given.labels == label), 1) for label in classes] + [(here, len(classes))]
        for rows, weight in cells:
            for part, tenth in enumerate(tenths):
                wanted = Fraction(tenth, 10) * int(rows.sum())
                total += weight * (int((rows & (parts == part)).sum()) - wanted) ** 2 / wanted
    return total


def missing(given: GroupedImages, parts: np.ndarray, tenths: tuple[int, ...]) -> tuple[int, int, int]:
    """What matters before the deviation: domains without training or validation, classes without training, no test."""
    domains = sorted(set(given.domains.tolist()))
    empty = [[not ((given.domains == d) & (parts == p)).any() for d in domains] for p in range(len(tenths))]
    cells = set(zip(given.domains.tolist(), given.labels.tolist(), strict=True))
    untrained = [not ((given.domains == d) & (given.labels == k) & (parts == 0)).any() for d, k in cells]
    return sum(empty[0]) + sum(empty[1]), sum(untrained), sum(map(sum, empty[2:]))


@pytest.mark.parametrize("tenths", [THREE, TWO])
@settings(max_examples=20, deadline=None)
@given(given=drawn(), seed=st.integers(0, 5))
def test_no_group_is_divided_and_the_division_repeats_in_any_order(given, seed, tenths):
    parts = divide_groups(given, tenths, seed)
    assert set(parts.tolist()) <= set(range(len(tenths)))
    for group in np.unique(given.groups):
        assert len(set(parts[given.groups == group].tolist())) == 1
    order = np.random.default_rng(seed).permutation(len(parts))
    shuffled = GroupedImages(given.groups[order], given.domains[order], given.labels[order], NAMES)
    assert divide_groups(shuffled, tenths, seed).tolist() == parts[order].tolist()


@pytest.mark.parametrize("tenths", [THREE, TWO])
@settings(max_examples=20, deadline=None)
@given(given=drawn(), seed=st.integers(0, 5))
def test_moving_one_group_makes_nothing_better(given, seed, tenths):
    """The result is at least a local optimum of the sum that the documentation states."""
    parts = divide_groups(given, tenths, seed)
    reached = (missing(given, parts, tenths), deviation(given, parts, tenths))
    for group in np.unique(given.groups):
        for part in range(len(tenths)):
            moved = np.where(given.groups == group, part, parts)
            other = (missing(given, moved, tenths), deviation(given, moved, tenths))
            # The sums inside are rounded down to 2^-24 of a cell.
            assert (other[0], float(other[1]) + 1e-4) >= (reached[0], float(reached[1]))


@settings(max_examples=20, deadline=None)
@given(given=drawn(most_groups=6, most_domains=1), seed=st.integers(0, 5))
def test_with_few_groups_nothing_more_can_be_had(given, seed):
    """Every assignment of up to six groups of one domain is tried: none lacks fewer parts."""
    parts = divide_groups(given, THREE, seed)
    names, group_of = np.unique(given.groups, return_inverse=True)
    best = min(missing(given, np.array(choice)[group_of], THREE) for choice in product(range(3), repeat=len(names)))
    assert missing(given, parts, THREE)[0] == best[0]
    if len(names) >= 3:
        assert best[0] == 0


@settings(max_examples=15, deadline=None)
@given(given=drawn(most_groups=40, most_domains=2, domains_share_groups=False), seed=st.integers(0, 3))
def test_a_domains_division_depends_on_no_other(given, seed):
    parts = divide_groups(given, THREE, seed)
    for domain in set(given.domains.tolist()):
        own = given.domains == domain
        alone = GroupedImages(given.groups[own], given.domains[own], given.labels[own], NAMES)
        assert divide_groups(alone, THREE, seed).tolist() == parts[own].tolist()


def patients(seed=0, count=60, per_domain=1):
    """Patients with 1 to 20 images each, of three classes, in three hospitals."""
    random = np.random.default_rng(seed)
    sizes = random.integers(1, 21, count)
    group = np.repeat(np.arange(count), sizes)
    return images(
        group, group % 3 if per_domain else random.integers(0, 3, len(group)), random.integers(0, 3, len(group))
    )


@pytest.mark.parametrize("per_domain", [True, False])
def test_shares_and_classes_come_out_as_wanted(per_domain):
    given = patients(per_domain=per_domain)
    parts = divide_groups(given, THREE, 0)
    for domain in range(3):
        here = given.domains == domain
        for part, tenth in enumerate(THREE):
            share = (parts[here] == part).mean()
            assert abs(share - tenth / 10) < 0.04, (domain, part, share)
        for label in range(3):
            cell = here & (given.labels == label)
            assert abs((parts[cell] == 0).mean() - 0.8) < 0.12


def test_the_seed_changes_the_division():
    given = patients()
    divisions = [divide_groups(given, THREE, seed).tolist() for seed in (0, 0, 1, 2)]
    assert divisions[0] == divisions[1]
    assert len({tuple(division) for division in divisions}) == 3


def test_a_division_is_what_it_was_when_it_was_written():
    """Runs with the same split seed have to stay comparable: a change of this is a change of everybody's splits."""
    sizes = [1 + 7 * index % 11 for index in range(20)]
    group = np.repeat(np.arange(20), sizes)
    given = images(group, group % 2, np.arange(len(group)) % 3)
    _, first = np.unique(group, return_index=True)
    assert "".join(map(str, divide_groups(given, THREE, 7)[first])) == "10002201001200000002"


def made(groups, splits=None, domains=(0, 1, 2)):
    count = len(groups)
    return ImageDataset(
        name="made",
        classes=("x", "y"),
        domains=NAMES,
        ids=tuple(map(str, range(count))),
        labels=np.arange(count) % 2,
        domain_indices=np.repeat(domains, count // len(domains)),
        splits=None if splits is None else np.array(splits),
        open_image=lambda row: Image.new("RGB", (4, 4)),
        fingerprint="0",
        groups=np.array(groups),
    )


def own_groups(count, sizes=3):
    """Groups of ``sizes`` images, ``count`` in every domain."""
    return [f"{name}{index}" for name in NAMES for index in range(count) for _ in range(sizes)]


def test_sources_are_divided_by_group_and_targets_are_held_out_whole():
    splits = split_domains(made(own_groups(10)), ["c"])
    groups = splits.dataset.groups
    parts = [set(groups[part.indices].tolist()) for part in (splits.train, splits.validation, splits.test)]
    assert [len(part) for part in parts] == [16, 2, 2]
    assert not parts[0] & parts[1]
    assert not (parts[0] | parts[1]) & parts[2]
    assert len(splits.held_out) == 30


def test_a_missing_validation_list_is_drawn_from_the_training_list_by_group():
    names = own_groups(12)
    splits = ["test" if name[1:] in ("0", "1") else "train" for name in names]
    divided = split_domains(made(names, splits), ["a"])
    groups = divided.dataset.groups
    assert len(divided.test) == 12
    assert len(divided.held_out) == 6
    validation = set(groups[divided.validation.indices].tolist())
    assert len(validation) == 2
    assert not validation & set(groups[divided.train.indices].tolist())
    assert {name[0] for name in validation} == {"b", "c"}


def refused(dataset, targets):
    with pytest.raises(InputError) as caught:
        split_domains(dataset, targets)
    return str(caught.value)


def test_too_few_groups_are_counted():
    message = refused(made(own_groups(2)), ["c"])
    assert "at least 3 groups in every source domain" in message
    assert "'a' has 2, 'b' has 2" in message
    names = own_groups(2)
    splits = ["test" if name.endswith("0") else "train" for name in names]
    assert "at least 2 groups" in refused(made(names, splits), ["c"])


def test_a_group_in_a_source_and_held_out_is_a_leak():
    names = own_groups(4)
    names[-1] = names[-2] = "a0"
    message = refused(made(names), ["c"])
    assert "1 group is ('a0') in a source (a, b) and held out with c" in message
    # Among sources a group may be shared.
    assert len(split_domains(made(names), ["b"]).held_out) == 12


def test_official_splits_that_divide_a_group_are_refused():
    names = own_groups(3)
    splits = ["train", "val", "test"] * (len(names) // 3)
    message = refused(made(names, splits), ["c"])
    assert "9 groups are ('a0', 'a1', 'a2', 'b0', 'b1', ...) in several" in message


def test_official_test_images_may_share_groups_with_held_out_ones():
    """Both only measure: no weight and no choice of an epoch has seen them."""
    names = own_groups(3)
    splits = [{"0": "train", "1": "val", "2": "test"}[name[1:]] for name in names]
    shared = ["t" if name.endswith("2") else name for name in names]
    assert len(split_domains(made(shared, splits), ["c"]).held_out) == 3
