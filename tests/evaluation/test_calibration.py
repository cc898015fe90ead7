import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV, calibration_curve
from sklearn.frozen import FrozenEstimator

from domain_masks.errors import InputError
from domain_masks.evaluation import expected_calibration_error, fit_temperature, reliability
from references.calibration import expected_calibration_error as slow
from references.metrics import negative_log_likelihood as likelihood


def drawn(seed, count=200, classes=5):
    generator = np.random.default_rng(seed)
    return generator.normal(scale=2, size=(count, classes)), generator.integers(classes, size=count)


@pytest.mark.parametrize("bins", [1, 2, 10, 15, 100])
@pytest.mark.parametrize("seed", range(2))
def test_reference(seed, bins):
    logits, labels = drawn(seed)
    assert expected_calibration_error(logits, labels, bins) == pytest.approx(slow(logits, labels, bins))


def test_sure_and_right_is_calibrated():
    assert expected_calibration_error(np.eye(3) * 1000, np.arange(3)) == pytest.approx(0.0)


def test_sure_and_wrong_is_as_bad_as_can_be():
    assert expected_calibration_error(np.eye(3) * 1000, np.array([1, 2, 0])) == pytest.approx(1.0)


def test_as_often_right_as_it_says():
    logits = np.tile(np.log([0.75, 0.25]), (4, 1))
    assert expected_calibration_error(logits, np.array([0, 0, 0, 1])) == pytest.approx(0.0)
    assert expected_calibration_error(logits, np.array([0, 0, 1, 1])) == pytest.approx(0.25)


def test_errors_of_bins_do_not_cancel_out():
    logits = np.concatenate([np.tile(np.log([0.6, 0.4]), (10, 1)), np.tile(np.log([0.9, 0.1]), (10, 1))])
    labels = np.array([0] * 9 + [1] + [0] * 6 + [1] * 4)
    assert expected_calibration_error(logits, labels, bins=1) == pytest.approx(0.0)
    assert expected_calibration_error(logits, labels, bins=10) == pytest.approx(0.3)


def test_a_constant_added_to_logits_changes_nothing():
    logits, labels = drawn(0)
    assert expected_calibration_error(logits + 500, labels) == pytest.approx(expected_calibration_error(logits, labels))


def test_bins_are_closed_above():
    edge = np.zeros((1, 2))
    binned = reliability(edge, np.array([0]), bins=2)
    np.testing.assert_array_equal(binned.counts, [1, 0])
    np.testing.assert_array_equal(binned.edges, [0.0, 0.5, 1.0])


def test_bins_hold_all_samples_and_mark_empty_ones():
    logits, labels = drawn(1)
    binned = reliability(logits, labels)
    assert binned.counts.sum() == len(labels)
    assert len(binned.counts) == len(binned.accuracy) == len(binned.confidence) == 15
    np.testing.assert_array_equal(np.isnan(binned.accuracy), binned.counts == 0)
    filled = binned.counts > 0
    assert not filled.all()
    assert (binned.confidence[filled] > binned.edges[:-1][filled]).all()
    assert (binned.confidence[filled] <= binned.edges[1:][filled]).all()
    assert binned.accuracy[filled] @ binned.counts[filled] == pytest.approx((logits.argmax(axis=1) == labels).sum())


def test_misuse():
    with pytest.raises(InputError, match="at least one bin"):
        expected_calibration_error(*drawn(0), bins=0)
    with pytest.raises(InputError, match="at least one sample"):
        expected_calibration_error(np.zeros((0, 3)), np.zeros(0, dtype=int))


def test_scikit_learns_bins():
    logits, labels = drawn(2, count=2000)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    accuracy, mean = calibration_curve(right, confidence, n_bins=15, strategy="uniform")
    counts = np.bincount(np.searchsorted(np.linspace(0, 1, 16)[1:-1], confidence))
    expected = np.abs(accuracy - mean) @ counts[counts > 0] / len(labels)
    assert expected_calibration_error(logits, labels) == pytest.approx(expected)


@pytest.mark.parametrize("scale", [0.2, 1.0, 5.0])
@pytest.mark.parametrize("seed", range(2))
def test_the_temperature_has_the_lowest_loss(seed, scale):
    logits, labels = informative(seed)
    found = fit_temperature(scale * logits, labels)
    losses = [likelihood((scale * logits).tolist(), labels, found * factor) for factor in (0.98, 1.0, 1.02)]
    assert losses[1] < min(losses[0], losses[2])
    # Logits that are scaled need a temperature that is scaled.
    assert found == pytest.approx(scale * fit_temperature(logits, labels), rel=1e-6)


def test_scikit_learns_temperature():
    """scikit-learn fits 1 / T by a minimiser of its own, on the decision function of a frozen classifier."""
    logits, labels = informative(3)

    class Given(ClassifierMixin, BaseEstimator):
        def fit(self, features, targets):
            self.classes_ = np.unique(targets)
            return self

        def decision_function(self, features):
            return features

        def predict(self, features):
            return features.argmax(axis=1)

    given = FrozenEstimator(Given().fit(logits, labels))
    calibrated = CalibratedClassifierCV(given, method="temperature").fit(logits, labels)
    (fitted,) = {round(each.calibrators[0].beta_, 12) for each in calibrated.calibrated_classifiers_}
    assert fit_temperature(logits, labels) == pytest.approx(1 / fitted, rel=1e-3)


def test_a_calibrated_classifier_has_temperature_one():
    logits = np.tile(np.log([0.75, 0.25]), (400, 1))
    assert fit_temperature(logits, np.array([0, 0, 0, 1] * 100)) == pytest.approx(1.0)
    assert fit_temperature(3 * logits, np.array([0, 0, 0, 1] * 100)) == pytest.approx(3.0)


def test_no_temperature_where_none_is_best():
    logits, labels = informative(0)
    assert fit_temperature(logits, logits.argmax(axis=1)) is None, "all are right: the surer, the better"
    assert fit_temperature(-logits, labels) is None, "worse than chance: the less sure, the better"
    assert fit_temperature(np.zeros((10, 3)), np.arange(10) % 3) is None, "any temperature is as good"
    with pytest.raises(InputError, match="at least one sample"):
        fit_temperature(logits[:0], labels[:0])
    with pytest.raises(InputError, match="NaN"):
        fit_temperature(np.where(logits > 2, np.nan, logits), labels)


def informative(seed, count=150, classes=4):
    logits, labels = drawn(seed, count, classes)
    logits[np.arange(count), labels] += 1.5
    return logits, labels
