"""The nearest source: one definition, and how often it is right on images whose source is known."""

from dataclasses import replace

import numpy as np
import pytest

from domain_masks.errors import InputError
from domain_masks.evaluation import (
    nearest_accuracy,
    nearest_by_rule,
    nearest_logits,
    nearest_of,
    nearest_on_domain,
    nearest_source,
    nearness,
    samples_by_domain,
    source_logits,
)
from domain_masks.records import Predictions
from references.predictions import SOURCES, generated


def classified(predictions, right=0.9, seed=0):
    """Add a domain classifier's probabilities, which are right on about ``right`` of the sources' images."""
    random = np.random.default_rng(seed)
    names = [predictions.domain_names[index] for index in predictions.domains]
    own = np.array([SOURCES.index(name) if name in SOURCES else 0 for name in names])
    said = np.where(random.random(len(own)) < right, own, (own + 1) % len(SOURCES))
    likely = np.full((len(own), len(SOURCES)), 0.1, dtype=np.float32)
    likely[np.arange(len(own)), said] = 0.8
    return replace(predictions, domain_probabilities=likely), said


def test_a_domain_classifier_names_it():
    predictions, said = classified(generated())
    assert nearest_of(predictions).tolist() == said.tolist()
    assert nearest_source(source_logits(predictions), predictions.domain_probabilities).tolist() == said.tolist()
    rows = np.arange(len(predictions))
    expected = source_logits(predictions)[said, rows]
    np.testing.assert_array_equal(nearest_logits(predictions), expected)
    np.testing.assert_allclose(nearness(predictions), predictions.domain_probabilities.T)
    for domain, part in samples_by_domain(predictions).items():
        shares = nearest_on_domain(part).shares
        mine = nearest_of(part)
        assert shares == {name: float((mine == index).mean()) for index, name in enumerate(SOURCES)}, domain


def test_without_one_the_most_confident_mask_does():
    predictions = generated()
    assert nearest_of(predictions).tolist() == nearest_source(source_logits(predictions)).tolist()


def test_its_accuracy_is_the_mean_over_sources_of_their_own_test_images():
    predictions, said = classified(generated())
    found = nearest_accuracy(predictions)
    shares = {}
    for index, name in enumerate(SOURCES):
        mine = (predictions.splits == "test") & (predictions.domains == predictions.domain_names.index(name))
        shares[name] = (said[mine] == index).mean()
    assert found.per_domain == pytest.approx(shares)
    assert found.accuracy == pytest.approx(np.mean(list(shares.values())))
    assert (found.by, found.split) == ("domain classifier", "test")
    assert found.count == (predictions.splits == "test").sum()
    assert nearest_by_rule(predictions) == {
        "domain classifier": found.accuracy,
        "most confident mask": nearest_accuracy(generated()).accuracy,
    }


def test_validation_images_measure_where_there_are_no_test_images():
    predictions, _ = classified(generated(splits=("validation", "held_out")))
    assert nearest_accuracy(predictions).split == "validation"
    assert nearest_accuracy(generated(splits=("held_out",))) is None


def test_there_is_none_without_masks_or_with_one_source():
    assert nearest_accuracy(generated(known=False)) is None
    one = generated()
    single = replace(
        one.select(split="test", domain="photo"),
        sources=("photo",),
        logits={name: one.select(split="test", domain="photo").of(name) for name in ("predictions", "known:photo")},
    )
    assert nearest_accuracy(single) is None
    assert nearest_by_rule(single) == {}


def test_probabilities_are_kept_with_their_rows(tmp_path):
    predictions, said = classified(generated())
    predictions.save(tmp_path / "predictions.npz")
    again = Predictions.load(tmp_path / "predictions.npz")
    np.testing.assert_array_equal(again.domain_probabilities, predictions.domain_probabilities)
    order = np.arange(len(predictions))[::-1]
    assert nearest_of(again.rows(order)).tolist() == said[::-1].tolist()
    parts = [again.rows(order[:5]), again.rows(order[5:])]
    assert nearest_of(Predictions.concatenate(parts)).tolist() == said[::-1].tolist()
    with pytest.raises(InputError, match="all have domain probabilities, got 1 of 2"):
        Predictions.concatenate([parts[0], replace(parts[1], domain_probabilities=None)])
    generated().save(tmp_path / "plain.npz")
    assert Predictions.load(tmp_path / "plain.npz").domain_probabilities is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda likely: likely[:, :2], r"domain probabilities of shape \(\d+, 3\), got \(\d+, 2\)"),
        (lambda likely: likely[1:], "domain probabilities of shape"),
        (lambda likely: likely - 0.2, r"domain probabilities in \[0, 1\]"),
        (lambda likely: likely * np.nan, r"domain probabilities in \[0, 1\]"),
    ],
)
def test_probabilities_that_do_not_fit_are_refused(change, message):
    predictions, _ = classified(generated())
    with pytest.raises(InputError, match=message):
        replace(predictions, domain_probabilities=change(predictions.domain_probabilities))
