import numpy as np
import pytest

import generated as images
from domain_masks.analysis.sampled_images import rows_of, sample
from domain_masks.evaluation import samples_by_domain
from references.predictions import generated


def test_as_many_of_every_domain():
    parts = samples_by_domain(generated(per_split=100))
    chosen = sample(parts, 80)
    assert [int((chosen.domains == index).sum()) for index in range(4)] == [20, 20, 20, 20]
    assert len(set(chosen.ids.tolist())) == 80
    assert {*chosen.ids.tolist()} <= {name for part in parts.values() for name in part.ids.tolist()}


def test_a_small_domain_leaves_the_rest_to_the_others():
    parts = samples_by_domain(generated(per_split=100))
    parts["art"] = parts["art"].rows(np.arange(5))
    chosen = sample(parts, 95)
    counts = {name: int((chosen.domains == chosen.domain_names.index(name)).sum()) for name in parts}
    assert counts == {"photo": 30, "art": 5, "cartoon": 30, "sketch": 30}


def test_every_class_has_its_part():
    parts = {"photo": samples_by_domain(generated(per_split=300))["photo"]}
    whole = np.bincount(parts["photo"].labels, minlength=3) / len(parts["photo"])
    chosen = np.bincount(sample(parts, 60).labels, minlength=3)
    assert np.abs(chosen - 60 * whole).max() <= 1


def test_the_choice_is_keyed_and_in_order():
    parts = samples_by_domain(generated(per_split=100))
    first, second = sample(parts, 80), sample(dict(reversed(parts.items())), 80)
    assert sorted(first.ids.tolist()) == sorted(second.ids.tolist())
    assert sorted(first.ids.tolist()) != sorted(sample(parts, 80, seed=1).ids.tolist())
    photos = first.select(domain="photo").ids.tolist()
    order = parts["photo"].ids.tolist()
    assert photos == sorted(photos, key=order.index)


def test_the_samples_are_those_of_every_version():
    chosen = sample(samples_by_domain(generated(per_split=100)), 8).ids.tolist()
    assert [name.removesuffix(".png") for name in chosen] == [
        "photo/test/26",
        "photo/test/99",
        "art/test/36",
        "art/test/83",
        "cartoon/test/13",
        "cartoon/test/29",
        "sketch/held_out/6",
        "sketch/held_out/29",
    ]


@pytest.mark.parametrize("count", [None, 10_000])
def test_all_are_taken_where_there_are_no_more(count):
    parts = samples_by_domain(generated())
    assert len(sample(parts, count)) == sum(map(len, parts.values()))


def test_one_image_is_enough():
    assert len(sample(samples_by_domain(generated()), 1)) == 1


def test_rows_are_found_by_id():
    dataset = images.dataset(per_class=2)
    wanted = [dataset.ids[3], "gone.png", dataset.ids[0]]
    assert rows_of(dataset, wanted).tolist() == [3, -1, 0]
