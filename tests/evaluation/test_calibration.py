import numpy as np
import pytest

from domain_masks.errors import InputError
from domain_masks.evaluation import expected_calibration_error, reliability
from references.calibration import expected_calibration_error as slow


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
