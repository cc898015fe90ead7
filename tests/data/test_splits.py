import numpy as np
import pytest
from PIL import Image

from domain_masks.data import load_digits_dataset, split_domains
from domain_masks.data.dataset import ImageDataset
from domain_masks.data.splits import (
    divided,
    domains_named,
    source_positions,
    unmeasured_sources,
    untrained_classes,
)
from domain_masks.errors import InputError


def made(sizes, splits=None, classes=2):
    """A dataset of domains a, b, ... with ``sizes`` images each, classes in turn."""
    domains = tuple("abcdef"[: len(sizes)])
    labels = np.concatenate([np.arange(size) % classes for size in sizes])
    return ImageDataset(
        name="made",
        classes=tuple(f"class{index}" for index in range(classes)),
        domains=domains,
        ids=tuple(str(row) for row in range(sum(sizes))),
        labels=labels,
        domain_indices=np.repeat(np.arange(len(sizes)), sizes),
        splits=None if splits is None else np.array(splits),
        open_image=lambda row: Image.new("RGB", (4, 4)),
        fingerprint="0",
    )


def test_parts_are_disjoint_complete_and_stratified():
    dataset = load_digits_dataset()
    splits = split_domains(dataset, ["outline"])
    assert (splits.sources, splits.targets) == (("ink", "paper", "mosaic"), ("outline",))
    parts = [splits.train, splits.validation, splits.test, splits.held_out]
    assert sorted(np.concatenate([part.indices for part in parts]).tolist()) == list(range(len(dataset)))
    assert splits.held_out.domain_names == ("outline",)
    for name in splits.sources:
        domain = dataset.domains.index(name)
        total = (dataset.domain_indices == domain).sum()
        for part in (splits.validation, splits.test):
            own = part.labels[part.domain_indices == domain]
            assert abs(len(own) - total / 10) <= 1
            assert np.bincount(own, minlength=10).min() >= 3


@pytest.mark.parametrize(("count", "tenth"), [(10, 1), (14, 1), (15, 2), (24, 2), (25, 3)])
def test_a_tenth_is_rounded_half_up(count, tenth):
    train, validation, test = divided(np.zeros(count, dtype=np.int64), 0, "a", ["class0"])
    assert (len(validation), len(test), len(train)) == (tenth, tenth, count - 2 * tenth)


def test_validation_that_official_lists_lack_depends_on_the_split_seed():
    dataset = made([40, 40, 40], splits=(["train"] * 30 + ["test"] * 10) * 3)
    one, same, other = (split_domains(dataset, ["a"], seed).validation.indices.tolist() for seed in (1, 1, 2))
    assert one == same != other
    assert one != split_domains(dataset, ["a"], 0).validation.indices.tolist()


def test_division_depends_on_the_split_seed_and_on_no_other_domain():
    dataset = load_digits_dataset()
    one, same, other = (split_domains(dataset, ["ink"], seed) for seed in (0, 0, 1))
    assert one.train.ids == same.train.ids
    assert set(one.train.ids) != set(other.train.ids)
    paper = {name for name in one.train.ids if name.startswith("paper/")}
    assert paper == {name for name in split_domains(dataset, ["mosaic"]).train.ids if name.startswith("paper/")}


@pytest.mark.parametrize("sizes", [[1], [2], [3], [2, 2], [1, 1, 4], [5] * 6, [15, 7, 1], [40, 3]])
def test_small_classes_keep_a_training_image_and_give_what_they_can(sizes):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    train, validation, test = divided(labels, 0, "domain", [str(index) for index in range(len(sizes))])
    assert sorted([*train.tolist(), *validation.tolist(), *test.tolist()]) == list(range(sum(sizes)))
    assert set(labels[train].tolist()) == set(range(len(sizes)))
    spare = sum(size - 1 for size in sizes)
    tenth = max(1, (sum(sizes) + 5) // 10)
    assert len(validation) == min(tenth, spare)
    assert len(test) == min(tenth, spare - len(validation))


def test_official_splits_are_used():
    splits = ["train", "train", "val", "test"] * 3
    divided_officially = split_domains(made([4, 4, 4], splits), ["b"])
    assert divided_officially.train.indices.tolist() == [0, 1, 8, 9]
    assert divided_officially.validation.indices.tolist() == [2, 10]
    assert divided_officially.test.indices.tolist() == [3, 11]
    assert divided_officially.held_out.indices.tolist() == [7]


def test_without_an_official_test_list_every_target_image_is_held_out():
    splits = split_domains(made([4, 4, 4], ["train", "train", "val", "val"] * 3), ["c"])
    assert splits.test is None
    assert splits.held_out.indices.tolist() == [8, 9, 10, 11]


def test_a_held_out_domain_without_official_test_images_is_named():
    dataset = made([4, 4, 4, 4], ["train", "train", "val", "test"] * 2 + ["train", "train", "val", "val"] * 2)
    with pytest.raises(InputError, match="held-out domain 'c' of dataset 'made' has no images in the official split"):
        split_domains(dataset, ["a", "c"])
    with pytest.raises(InputError, match="held-out domains 'c', 'd' of dataset 'made' have"):
        split_domains(dataset, ["c", "d"])
    assert split_domains(dataset, ["a"]).held_out.indices.tolist() == [3]


def test_several_targets_and_none():
    dataset = made([10, 10, 10, 10])
    both = split_domains(dataset, ["d", "a"])
    assert (both.sources, both.targets) == (("b", "c"), ("a", "d"))
    assert len(both.held_out) == 20
    everything = split_domains(dataset, [])
    assert everything.sources == ("a", "b", "c", "d")
    assert len(everything.held_out) == 0


@pytest.mark.parametrize(
    ("sizes", "targets", "words"),
    [
        ([4, 4, 4], ["x"], "unknown domain 'x'"),
        ([4, 4, 4], ["a", "a"], "every held-out domain once"),
        ([4, 4, 4], ["a", "b"], "at least two source domains"),
        ([4, 4, 0], ["c"], "has no images"),
        ([4, 4, 0], ["a"], "'c' .* no training images"),
        ([4, 4, 2], ["a"], "'c' .* no validation images"),
        ([4, 4, 4], "a", "put it in a list"),
    ],
)
def test_misuse_is_named(sizes, targets, words):
    with pytest.raises(InputError, match=words):
        split_domains(made(sizes), targets)


def test_positions_in_sources():
    dataset = made([2, 2, 2])
    assert source_positions(dataset, ("a", "c"), np.array([2, 0, 2])).tolist() == [1, 0, 1]
    with pytest.raises(InputError, match="got one of 'b'"):
        source_positions(dataset, ("a", "c"), np.array([0, 1]))
    with pytest.raises(InputError, match="unknown domain"):
        source_positions(dataset, ("a", "z"), np.array([0]))


CITIES = ("Berlin, Mitte", "Wien", "Mitte", "a,b", "a", "b", "c , d")


@pytest.mark.parametrize(
    ("names", "meant"),
    [
        (["Wien"], ("Wien",)),
        (["Wien", "Mitte"], ("Wien", "Mitte")),
        (["Berlin", "Mitte"], ("Berlin, Mitte",)),
        (["Berlin, Mitte"], ("Berlin, Mitte",)),
        (["Berlin,Mitte"], ("Berlin, Mitte",)),
        (["Berlin", "Mitte", "Wien"], ("Berlin, Mitte", "Wien")),
        (["Wien", "Berlin", "Mitte", "Mitte"], ("Wien", "Berlin, Mitte", "Mitte")),
        (["Berlin, Mitte", "Wien"], ("Berlin, Mitte", "Wien")),
        (["a,b"], ("a,b",)),
        (["a", "b"], ("a", "b")),
        (["c", "d"], ("c , d",)),
        (["none"], ()),
        ([], ()),
        (["Berlin"], ("Berlin",)),
        (["Wien", "none"], ("Wien", "none")),
        (["Wien,Graz"], ("Wien", "Graz")),
    ],
)
def test_names_with_commas_are_put_together_again(names, meant):
    assert domains_named(names, CITIES) == meant


def test_a_domain_may_be_called_none():
    assert domains_named(["none"], ("none", "a")) == ("none",)
    assert domains_named([], ("none", "a")) == ()


def test_held_out_classes_that_no_training_image_shows_are_named():
    dataset = made((20, 20, 20), classes=2)
    assert untrained_classes(split_domains(dataset, ["c"])) == []
    assert untrained_classes(split_domains(dataset, [])) == []
    labels = dataset.labels.copy()
    labels[40:] += 2
    labels[40] = 0
    renamed = ImageDataset(
        name="made",
        classes=("cat", "dog", "Katze", "Hund"),
        domains=dataset.domains,
        ids=dataset.ids,
        labels=labels,
        domain_indices=dataset.domain_indices,
        splits=None,
        open_image=lambda row: Image.new("RGB", (4, 4)),
        fingerprint="0",
    )
    (line,) = untrained_classes(split_domains(renamed, ["c"]))
    assert "no training image shows classes 'Katze', 'Hund': 19 of 20 held-out images" in line


def test_sources_that_the_accuracy_in_domain_is_not_of_are_named():
    whole, part = ["train"] * 6 + ["val"] * 2 + ["test"] * 2, ["train"] * 6 + ["val"] * 4
    dataset = made((10, 10, 10, 10), splits=whole + part + whole + part)
    (line,) = unmeasured_sources(split_domains(dataset, ["a"]))
    assert line.startswith("sources 'b', 'd' without in-domain test images: accuracy in domain")
    assert "that of the other 1. Give them" in line
    assert unmeasured_sources(split_domains(made((10, 10, 10), splits=whole * 3), ["a"])) == []
    # Without any test images the validation images are measured, of all sources.
    assert unmeasured_sources(split_domains(made((10, 10, 10), splits=part * 3), ["a"])) == []
    # Too few images of a source to draw a test image from.
    (line,) = unmeasured_sources(split_domains(made((20, 20, 3)), ["a"]))
    assert line.startswith("source 'c' without in-domain test images")


# Half of the validation images as in-domain test images, where a dataset has none.


def unevenly(counts, groups=None, splits=None):
    """Domains a, b, ...: ``counts`` is domain -> class -> how many images are of the official validation list; 3 train each."""
    rows = [
        (domain, label, split)
        for domain, classes in enumerate(counts)
        for label, count in enumerate(classes)
        for split in ["train"] * 3 + ["val"] * count
    ]
    domains, labels, names = zip(*rows, strict=True)
    return ImageDataset(
        name="made",
        classes=tuple(f"class{index}" for index in range(max(labels) + 1)),
        domains=tuple("abcdef"[: len(counts)]),
        ids=tuple(map(str, range(len(rows)))),
        labels=np.array(labels),
        domain_indices=np.array(domains),
        splits=np.array(names if splits is None else splits),
        open_image=lambda row: Image.new("RGB", (4, 4)),
        fingerprint="0",
        groups=groups,
    )


UNEVEN = [[9, 4, 1, 1], [7, 0, 3, 5], [1, 1, 1, 10], [2, 6, 2, 3]]


def test_halves_of_the_validation_list_are_disjoint_and_together_the_list():
    dataset = unevenly(UNEVEN)
    usual = split_domains(dataset, ["d"])
    splits = split_domains(dataset, ["d"], in_domain_test="validation-half")
    assert usual.test is None
    assert splits.train.ids == usual.train.ids
    assert splits.held_out.ids == usual.held_out.ids
    assert not set(splits.validation.ids) & set(splits.test.ids)
    assert sorted([*splits.validation.indices, *splits.test.indices]) == usual.validation.indices.tolist()
    for domain, name in enumerate(splits.sources):
        select, test = (
            np.bincount(part.labels[part.domain_indices == dataset.domains.index(name)], minlength=4)
            for part in (splits.validation, splits.test)
        )
        assert (select + test).tolist() == UNEVEN[domain]
        assert abs(select - test).max() <= 1, "stratified by class"
        assert select.sum() - test.sum() in (0, 1), "and by domain; the odd image selects"


def test_halves_depend_on_the_split_seed_and_on_no_other_domain():
    dataset = unevenly(UNEVEN)

    def test_images(targets, seed=0):
        return set(split_domains(dataset, targets, seed, 1, "validation-half").test.ids)

    of_a = {name for name, domain in zip(dataset.ids, dataset.domain_indices, strict=True) if domain == 0}
    assert test_images(["d"]) == test_images(["d"])
    assert test_images(["d"]) & of_a == test_images(["b", "c"]) & of_a
    assert test_images(["d"]) != test_images(["d"], seed=1)


def test_halves_are_of_the_validation_list_that_official_lists_lack():
    dataset = unevenly(UNEVEN, splits=["train"] * sum(3 * len(classes) + sum(classes) for classes in UNEVEN))
    drawn = split_domains(dataset, ["d"], 3)
    splits = split_domains(dataset, ["d"], 3, in_domain_test="validation-half")
    assert sorted([*splits.validation.indices, *splits.test.indices]) == drawn.validation.indices.tolist()


def test_halves_do_not_divide_groups():
    counts = [[8, 8], [8, 8], [4, 4]]
    names = np.array([f"patient {row // 2}" for row in range(sum(3 * len(c) + sum(c) for c in counts))])
    dataset = unevenly(counts, groups=names)
    # A group of a training and a validation image would be divided by the lists themselves.
    names[dataset.splits == "train"] = "trained"
    names[(dataset.splits == "train") & (dataset.domain_indices == 2)] = "held out"
    splits = split_domains(dataset, ["c"], in_domain_test="validation-half")
    select, test = (set(names[part.indices]) for part in (splits.validation, splits.test))
    assert not select & test
    assert len(splits.validation) + len(splits.test) == 32
    assert abs(len(splits.validation) - len(splits.test)) <= 4


@pytest.mark.parametrize(
    ("dataset", "words"),
    [
        (made([20, 20, 20]), "a part of each source that is drawn for it: leave it out"),
        (made([4, 4, 4], ["train", "train", "val", "test"] * 3), "an official test list: leave it out"),
        (unevenly([[4, 4], [1, 0], [4, 4]]), "validation images of 'b' .*two or more images in every source"),
    ],
)
def test_halves_where_there_are_none(dataset, words):
    with pytest.raises(InputError, match=f"in_domain_test: .*{words}"):
        split_domains(dataset, ["c"], in_domain_test="validation-half")
