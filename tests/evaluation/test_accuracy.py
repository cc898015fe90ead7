from dataclasses import replace

import numpy as np
import pytest

from domain_masks.errors import InputError
from domain_masks.evaluation.accuracy import (
    balanced_accuracy,
    correct,
    known_domain_logits,
    mean_over_domains,
    per_domain_accuracy,
    top1,
    worst_domain,
)
from references import accuracy as slow
from references.predictions import DOMAINS, SOURCES, generated


def drawn(seed=0, count=60, classes=4):
    generator = np.random.default_rng(seed)
    return generator.normal(size=(count, classes)), generator.integers(classes, size=count)


@pytest.mark.parametrize("seed", range(3))
def test_reference(seed):
    logits, labels = drawn(seed)
    assert top1(logits, labels) == pytest.approx(slow.top1(logits, labels))
    assert balanced_accuracy(logits, labels) == pytest.approx(slow.balanced_accuracy(logits, labels))


def test_all_right_and_all_wrong():
    logits = np.eye(3)
    assert top1(logits, np.arange(3)) == balanced_accuracy(logits, np.arange(3)) == 1.0
    assert top1(logits, np.array([1, 2, 0])) == balanced_accuracy(logits, np.array([1, 2, 0])) == 0.0


def test_first_of_equal_logits_counts():
    np.testing.assert_array_equal(correct(np.zeros((2, 3)), np.array([0, 1])), [True, False])


def test_balanced_accuracy_weighs_classes_not_samples():
    logits = np.tile([1.0, 0.0, 0.0], (10, 1))
    labels = np.array([0] * 9 + [1])
    assert top1(logits, labels) == pytest.approx(0.9)
    assert balanced_accuracy(logits, labels) == pytest.approx(0.5)


def test_balanced_is_plain_when_classes_are_equally_frequent():
    logits, _ = drawn()
    labels = np.arange(60) % 4
    assert balanced_accuracy(logits, labels) == pytest.approx(top1(logits, labels))


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        (np.zeros((2, 3)), np.zeros(3, dtype=int), r"got \(2, 3\) and \(3,\)"),
        (np.zeros(3), np.zeros(3, dtype=int), r"logits \(N, C\)"),
        (np.zeros((0, 3)), np.zeros(0, dtype=int), "at least one sample"),
        (np.array([[np.nan, 1.0]]), np.zeros(1, dtype=int), "got NaN"),
    ],
)
def test_what_has_no_accuracy(logits, labels, message):
    with pytest.raises(InputError, match=message):
        top1(logits, labels)
    with pytest.raises(InputError):
        balanced_accuracy(logits, labels)


@pytest.mark.parametrize("ensemble", ["predictions", "known:photo"])
def test_per_domain_reference(ensemble):
    predictions = generated()
    expected = slow.per_domain_accuracy(
        predictions.logits[ensemble], predictions.labels, predictions.domains, predictions.domain_names
    )
    found = per_domain_accuracy(predictions, ensemble)
    assert found == pytest.approx(expected)
    assert tuple(found) == DOMAINS


def test_domains_without_samples_are_absent():
    assert set(per_domain_accuracy(generated().select(split="held_out"))) == {"sketch"}


def test_mean_over_domains_does_not_weigh_by_samples():
    assert mean_over_domains({"big": 1.0, "small": 0.0}) == 0.5
    predictions = generated()
    assert mean_over_domains(per_domain_accuracy(predictions)) != pytest.approx(
        top1(predictions.of("predictions"), predictions.labels)
    )
    with pytest.raises(InputError, match="got none"):
        mean_over_domains({})


def test_worst_domain():
    assert worst_domain({"a": 0.5, "b": 0.2, "c": 0.2}) == "b"
    with pytest.raises(InputError, match="got none"):
        worst_domain({})


def test_known_domain_reference():
    predictions = generated()
    inside = predictions.rows(np.isin(predictions.domains, [DOMAINS.index(name) for name in SOURCES]))
    expected = slow.known_domain_logits(inside.logits, inside.domains, inside.domain_names)
    np.testing.assert_array_equal(known_domain_logits(inside), expected)


def test_known_domain_of_one_domain_is_its_ensemble():
    inside = generated().select(split="test", domain="art")
    np.testing.assert_array_equal(known_domain_logits(inside), inside.of("known:art"))


def test_held_out_domain_is_not_known():
    with pytest.raises(InputError, match="got some of sketch"):
        known_domain_logits(generated())


def test_method_without_logits_per_domain():
    with pytest.raises(InputError, match="unknown ensemble 'known:art'"):
        known_domain_logits(generated(known=False).select(split="test"))


def test_order_of_sources_does_not_matter():
    inside = generated().select(split="test")
    turned = replace(inside, sources=tuple(reversed(SOURCES)))
    np.testing.assert_array_equal(known_domain_logits(turned), known_domain_logits(inside))
