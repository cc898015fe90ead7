from dataclasses import replace

import numpy as np
import pytest

from domain_masks.errors import InputError
from domain_masks.evaluation import (
    accuracies,
    expected_calibration_error,
    fitted_temperatures,
    macro_f1,
    metrics,
    one_vs_rest_auroc,
    top_k_accuracy,
    worst_group,
)
from domain_masks.evaluation.metrics import log_odds
from domain_masks.records.measured_metrics import FittedTemperature
from references import metrics as slow
from references.predictions import DOMAINS, generated


def drawn(seed, count=60, classes=7, ties=False):
    generator = np.random.default_rng(seed)
    logits = generator.normal(scale=2, size=(count, classes))
    # Few values give many equal logits.
    return (logits.round() if ties else logits), generator.integers(classes, size=count)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_references(seed, ties):
    logits, labels = drawn(seed, ties=ties)
    assert macro_f1(logits, labels) == pytest.approx(slow.macro_f1(logits.tolist(), labels.tolist()))
    for k in (1, 3, 5):
        assert top_k_accuracy(logits, labels, k) == pytest.approx(slow.top_k(logits.tolist(), labels.tolist(), k))
    expected = [slow.auroc(logits.tolist(), labels.tolist(), name) for name in range(7)]
    assert one_vs_rest_auroc(logits, labels) == pytest.approx(expected)


def test_a_class_without_images_is_in_no_mean():
    logits = np.eye(4)[[0, 0, 1, 3]] * 5
    labels = np.array([0, 0, 1, 1])
    # The last image is called class 3, which has none: class 1 misses it, and class 3 is not counted as an F1 of 0.
    assert macro_f1(logits, labels) == pytest.approx((1 + 2 / 3) / 2)
    areas = one_vs_rest_auroc(logits, labels)
    assert areas == [1.0, 0.75, None, None]
    (found,) = metrics(of_domains({"photo": (logits, labels)})).values()
    assert found.auroc == pytest.approx((1.0 + 0.75) / 2)
    assert (found.per_domain["photo"].classes, found.per_domain["photo"].of_classes) == (2, 4)


def test_images_of_one_class_have_no_auroc_and_neither_has_the_mean_over_domains():
    logits, labels = drawn(0)
    assert one_vs_rest_auroc(logits, np.zeros_like(labels)) == [None] * 7
    found = metrics(of_domains({"photo": (logits, labels), "art": (logits, np.zeros_like(labels))}))["in_domain"]
    assert found.per_domain["art"].auroc is None
    assert found.per_domain["photo"].auroc is not None
    assert found.auroc is None, "a mean over the domains that have one would look like one over all"


def test_auroc_of_probabilities_that_round_to_one():
    # All probabilities of class 0 are 1 in double precision; its margins still order them.
    logits = np.stack([np.array([100.0, 90.0, 50.0, 45.0]), np.zeros(4)], axis=1)
    assert one_vs_rest_auroc(logits, np.array([0, 0, 1, 1]))[0] == 1.0
    assert one_vs_rest_auroc(logits, np.array([1, 1, 0, 0]))[0] == 0.0


def test_equal_probabilities_count_half_whatever_is_added_to_the_logits():
    logits = np.array([[1.0, 0.0, 0.0], [3.0, 2.0, 2.0]])
    logits[1] += 1e3
    assert one_vs_rest_auroc(logits, np.array([0, 1]))[0] == 0.5
    assert one_vs_rest_auroc(logits[::-1], np.array([0, 1]))[0] == 0.5
    assert len(np.unique(log_odds(logits), axis=0)) == 1


def test_log_odds_are_those_of_the_probabilities():
    logits, _ = drawn(1)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(log_odds(logits), np.log(probabilities / (1 - probabilities)))
    assert np.isfinite(log_odds(np.array([[1e4, -1e4, 0.0], [0.0, 0.0, 0.0]]))).all()
    with pytest.raises(InputError, match="at least two classes"):
        log_odds(np.zeros((3, 1)))


def test_top_5_needs_more_than_five_classes():
    logits, labels = drawn(0, classes=5)
    assert top_k_accuracy(logits, labels) is None
    assert metrics(of_domains({"photo": (logits, labels)}))["in_domain"].top_5 is None
    assert top_k_accuracy(*drawn(0, classes=6)) is not None


def test_equal_logits_count_as_in_top_1():
    flat = np.zeros((7, 7))
    labels = np.arange(7)
    assert top_k_accuracy(flat, labels, 5) == pytest.approx(5 / 7)
    assert top_k_accuracy(flat, labels, 1) == pytest.approx(1 / 7)
    assert top_k_accuracy(flat[:1], labels[6:], 5) == 0.0
    assert one_vs_rest_auroc(flat, labels) == [0.5] * 7


def test_one_class_alone():
    logits, labels = np.zeros((3, 1)), np.zeros(3, dtype=int)
    assert macro_f1(logits, labels) == 1.0
    assert one_vs_rest_auroc(logits, labels) == [None]


@pytest.mark.parametrize("measure", [macro_f1, top_k_accuracy, one_vs_rest_auroc])
def test_misuse(measure):
    logits, labels = drawn(0)
    with pytest.raises(InputError, match="at least one sample"):
        measure(logits[:0], labels[:0])
    for broken, message in ((np.nan, "NaN"), (np.inf, "infinity")):
        wrong = logits.copy()
        wrong[3, 1] = broken
        with pytest.raises(InputError, match=message):
            measure(wrong, labels)
    with pytest.raises(InputError, match="labels from 0 to 6"):
        measure(logits, labels + 1)
    with pytest.raises(InputError, match=r"logits \(N, C\)"):
        measure(logits, labels[:-1])


def test_the_worst_group_has_enough_images():
    predictions = generated(splits=("test",), per_split=40)
    right = np.eye(3, dtype=np.float32)[predictions.labels]
    chosen = (predictions.domains == DOMAINS.index("art")) & (predictions.labels == 1)
    right[np.flatnonzero(chosen)[:3]] *= -1
    few = (predictions.domains == DOMAINS.index("photo")) & (predictions.labels == 2)
    kept = ~few
    kept[np.flatnonzero(few)[:4]] = True
    right[few] *= -1
    chosen_only = replace(predictions, logits={"predictions": right}).rows(kept)
    found = worst_group(chosen_only, least=5)
    assert (found.domain, found.class_name, found.images) == ("art", predictions.classes[1], int(chosen.sum()))
    assert found.accuracy == pytest.approx(1 - 3 / chosen.sum())
    assert (found.least, found.left_out) == (5, 1)
    assert worst_group(chosen_only, least=4).domain == "photo"
    assert worst_group(chosen_only, least=1000) is None


def of_domains(parts, split="test"):
    """Return predictions of sources only: domain -> logits and labels."""
    names = tuple(parts)
    logits = np.concatenate([part[0] for part in parts.values()])
    labels = np.concatenate([part[1] for part in parts.values()])
    domains = np.repeat(np.arange(len(parts)), [len(part[1]) for part in parts.values()])
    base = generated()
    return replace(
        base,
        ids=np.arange(len(labels)).astype(str),
        labels=labels,
        domains=domains,
        domain_names=names,
        splits=np.full(len(labels), split),
        logits={"predictions": logits},
        classes=tuple(f"c{index}" for index in range(logits.shape[1])),
        sources=names,
    )


def test_measures_are_those_of_the_accuracies():
    predictions = generated()
    found, of_accuracy = metrics(predictions), accuracies(predictions)
    assert list(found) == list(of_accuracy)
    for measure, each in found.items():
        assert each.images == of_accuracy[measure].count
        counts = {domain: part.images for domain, part in each.per_domain.items()}
        assert counts == of_accuracy[measure].count_per_domain
        assert each.macro_f1 == pytest.approx(np.mean([part.macro_f1 for part in each.per_domain.values()]))
        assert each.calibrated_error is None


def test_calibrated_errors_use_the_ensembles_own_temperature_and_no_image_of_the_fit():
    predictions = generated()
    fitted = {
        name: FittedTemperature(value=value, images=9)
        for name, value in (("predictions", 2.0), ("known:art", 3.0), ("known:photo", 0.5), ("known:cartoon", 4.0))
    }
    found = metrics(predictions, fitted)
    part = predictions.select(split="test", domain="art")
    expected = expected_calibration_error(part.of("predictions") / 2, part.labels)
    assert found["in_domain"].per_domain["art"].calibrated_error == pytest.approx(expected)
    own = expected_calibration_error(part.of("known:art") / 3, part.labels)
    assert found["known_domain"].per_domain["art"].calibrated_error == pytest.approx(own)
    held_out = predictions.select(split="held_out")
    assert found["out_of_domain"].calibrated_error == pytest.approx(
        expected_calibration_error(held_out.of("predictions") / 2, held_out.labels)
    )
    # In domain without test images is measured on validation, where the temperature was fitted.
    without_test = metrics(predictions.rows(predictions.splits != "test"), fitted)
    assert without_test["in_domain"].calibrated_error is None
    assert without_test["in_domain"].calibration_error is not None
    assert without_test["out_of_domain"].calibrated_error is not None
    under = metrics(predictions, fitted, "known:art")
    assert list(under) == ["out_of_domain", "in_domain"]
    assert under["out_of_domain"].calibrated_error == pytest.approx(
        expected_calibration_error(held_out.of("known:art") / 3, held_out.labels)
    )
    with pytest.raises(InputError, match="ensemble"):
        metrics(predictions, fitted, "known:sketch")


def test_temperatures_look_at_the_sources_validation_images_alone():
    predictions = generated()
    held = predictions.splits != "validation"
    changed = replace(
        predictions,
        logits={name: np.where(held[:, None], -values, values) for name, values in predictions.logits.items()},
    )
    assert fitted_temperatures(predictions) == fitted_temperatures(changed)
    found = fitted_temperatures(predictions)
    validation = predictions.select(split="validation")
    assert found["predictions"].images == len(validation)
    assert found["known:art"].images == len(validation.select(domain="art"))
    assert fitted_temperatures(predictions.select(split="test")) == {}
