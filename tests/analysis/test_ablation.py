"""Ablation: which units are zeroed, how many, and what the whole model then predicts."""

import itertools

import numpy as np
import pytest
import torch

from domain_masks.analysis.ablation import ablation_rows, measure, variants
from domain_masks.batch import DomainBatch
from domain_masks.masks.statistics import units_by_kind

LOGITS = {
    "low": torch.tensor([[1.0] * 8 + [1.0] * 4 + [-1.0] * 4, [1.0] * 8 + [-1.0] * 4 + [-1.0] * 4]),
    "high": torch.tensor([[1.0, 1.0, -1.0, -1.0], [1.0, 1.0, 1.0, -1.0]]),
}


def test_kinds_by_hand():
    found = units_by_kind(LOGITS["high"])
    assert found["shared"].tolist() == [True, True, False, False]
    assert found["specific"].tolist() == [False, False, True, False]


def test_nothing_is_switched_off_first():
    first = next(variants(LOGITS))
    assert (first.kind, first.neurons, first.fraction) == ("none", 0, 0.0)
    masks = {site: torch.ones(2, values.shape[1]) for site, values in LOGITS.items()}
    assert all(first.apply(masks)[site] is masks[site] for site in masks)


def test_every_variant_switches_off_what_it_says():
    for variant in variants(LOGITS):
        total = sum(int(off.sum()) for off in variant.off.values())
        assert total == variant.neurons
        for site, off in variant.off.items():
            of = units_by_kind(LOGITS[site])[variant.matched or variant.kind]
            assert int(off.sum()) == round(variant.fraction * int(of.sum()))
            if variant.kind != "random":
                assert not (off & ~of).any()
        assert set(variant.off) == ({"low", "high"} if variant.site == "all" else {variant.site}) or not variant.off


def test_a_control_takes_neurons_of_any_kind():
    taken = torch.zeros(16, dtype=torch.bool)
    for variant in variants(LOGITS, draws=50):
        if variant.kind == "random" and variant.site == "low":
            taken |= variant.off["low"]
    assert taken.all()


def test_larger_fractions_hold_the_smaller_ones():
    found = [v.off["low"] for v in variants(LOGITS, draws=1) if (v.site, v.kind) == ("low", "shared")]
    assert [int(off.sum()) for off in found] == [2, 4, 8]
    for smaller, larger in itertools.pairwise(found):
        assert not (smaller & ~larger).any()


def test_all_of_a_kind_is_one_draw_and_a_control_several():
    drawn = [(v.kind, v.fraction) for v in variants(LOGITS, draws=3) if v.site == "low" and v.matched != "specific"]
    assert drawn.count(("shared", 1.0)) == 1
    assert drawn.count(("shared", 0.5)) == 3
    assert drawn.count(("random", 1.0)) == 3


def test_draws_are_keyed_and_do_not_depend_on_other_sites():
    def taken(logits, seed=0):
        return [v.off["low"].tolist() for v in variants(logits, seed) if v.site == "low"]

    assert taken(LOGITS) == taken(LOGITS) == taken({"low": LOGITS["low"]})
    assert taken(LOGITS, seed=1) != taken(LOGITS)


def test_one_site_is_not_shown_twice_and_a_kind_without_neurons_not_at_all():
    found = list(variants({"low": torch.ones(2, 4)}))[1:]
    assert {variant.site for variant in found} == {"low"}
    assert {variant.matched or variant.kind for variant in found} == {"shared"}
    assert [variant.kind for variant in variants({"low": -torch.ones(2, 4)})] == ["none"]


def test_a_fraction_of_less_than_a_neuron_is_left_out():
    fractions = (0.25, 0.5, 0.75, 1.0)
    found = [v for v in variants({"high": LOGITS["high"]}, fractions=fractions) if v.kind == "specific"]
    assert [(v.fraction, v.neurons) for v in found] == [(0.75, 1), (1.0, 1)]


def test_measured_against_masks_by_hand():
    """A network that is its masks: the class is the neuron with the largest activation under the mean mask."""
    logits = {"site": torch.tensor([[2.0, 1.0, -1.0], [2.0, 1.0, 1.0]])}
    chosen = list(variants(logits, draws=2))
    images = torch.tensor([[1.0, 0.9, 0.1], [0.1, 1.0, 0.0], [0.0, 0.1, 1.0]])
    batches = [
        DomainBatch(images=None, labels=None, domains=None, ids=torch.tensor(rows), features=images[rows])
        for rows in ([0, 1], [2])
    ]
    predicted, rows = measure(
        batches, lambda batch: batch.features, lambda own, masks: own * masks["site"].mean(0), logits, chosen
    )
    assert rows.tolist() == [0, 1, 2]
    assert predicted.shape == (len(chosen), 3)
    soft = torch.sigmoid(logits["site"]).mean(0)
    for index, variant in enumerate(chosen):
        off = variant.off.get("site", torch.zeros(3, dtype=torch.bool))
        assert predicted[index].tolist() == (images * soft * ~off).argmax(1).tolist()


def test_rows_are_means_over_draws_by_domain():
    chosen = list(variants({"high": LOGITS["high"]}, draws=2, fractions=(0.5,)))
    assert [(v.kind, v.matched) for v in chosen] == [
        ("none", None), ("shared", None), ("shared", None), ("random", "shared"), ("random", "shared"),
    ]  # fmt: skip
    right = np.array([[1, 1, 1, 1], [1, 0, 0, 1], [0, 0, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0]], dtype=bool)
    domains = {"a": np.array([True, True, False, False]), "b": np.array([False, False, True, True])}
    none, shared, random = ablation_rows(chosen, right, domains)
    assert none.accuracy == {"a": 1.0, "b": 1.0}
    assert none.draws == 1
    assert not none.deviation
    assert shared.matched is None
    assert shared.accuracy == {"a": 0.25, "b": 0.75}
    assert shared.deviation["a"] == pytest.approx(np.std([0.5, 0.0], ddof=1))
    assert (random.kind, random.matched, random.neurons, random.draws) == ("random", "shared", 1, 2)
