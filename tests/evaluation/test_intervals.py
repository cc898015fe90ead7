from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom

from domain_masks.errors import InputError
from domain_masks.evaluation import (
    accuracy_interval,
    bootstrap_interval,
    compare,
    exact_mcnemar,
    mean_and_standard_deviation,
    mean_over_domains,
    per_domain_accuracy,
)
from domain_masks.evaluation.intervals import holm, stratified_interval
from references import intervals as slow
from references.predictions import generated


def right(count, of):
    return np.arange(of) < count


def test_bootstrap_reference():
    groups = [right(30, 40), right(5, 25)]
    drawn = slow.bootstrap_accuracies([list(group) for group in groups], samples=3000, seed=1)
    interval = bootstrap_interval(groups)
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert interval.accuracy == pytest.approx((30 / 40 + 5 / 25) / 2)
    assert interval.low == pytest.approx(low, abs=0.015)
    assert interval.high == pytest.approx(high, abs=0.015)


def test_many_samples_agree_with_the_normal_interval():
    interval = bootstrap_interval([right(3000, 4000)], samples=20_000)
    half = 1.96 * np.sqrt(0.75 * 0.25 / 4000)
    assert interval.low == pytest.approx(0.75 - half, abs=1e-3)
    assert interval.high == pytest.approx(0.75 + half, abs=1e-3)


def test_few_samples_that_are_all_right_leave_doubt():
    for few, many in ((3, 10), (10, 100), (100, 4000)):
        interval, narrower = (bootstrap_interval([right(count, count)]) for count in (few, many))
        assert interval.accuracy == interval.high == 1.0
        assert interval.low < narrower.low < 1.0
    assert bootstrap_interval([right(4000, 4000)]).low == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("count", [5, 10, 30])
@pytest.mark.parametrize("accuracy", [0.5, 0.8, 0.9, 0.98])
def test_intervals_of_few_samples_hold_the_accuracy_that_they_are_of(accuracy, count):
    intervals = [bootstrap_interval([right(found, count)], samples=4000) for found in range(count + 1)]
    chances = binom.pmf(np.arange(count + 1), count, accuracy)
    # Drawn from the samples alone, 0.1 for an accuracy of 0.98 and 5 samples.
    assert chances @ [interval.low <= accuracy <= interval.high for interval in intervals] > 0.93


def test_equal_seeds_give_equal_intervals():
    group = [right(30, 101)]
    assert bootstrap_interval(group, seed=3) == bootstrap_interval(group, seed=3)
    assert bootstrap_interval(group, seed=3, samples=50) != bootstrap_interval(group, seed=4, samples=50)


def test_higher_level_is_wider():
    narrow, wide = (bootstrap_interval([right(30, 100)], level=level) for level in (0.5, 0.99))
    assert wide.low < narrow.low < narrow.accuracy < narrow.high < wide.high


def test_interval_of_predictions_is_about_the_mean_over_domains():
    chosen = generated().select(split="test")
    interval = accuracy_interval(chosen, "known:art")
    assert interval.accuracy == pytest.approx(mean_over_domains(per_domain_accuracy(chosen, "known:art")))
    assert interval.low < interval.accuracy < interval.high


@pytest.mark.parametrize(
    ("groups", "settings"),
    [([], {}), ([right(0, 0)], {}), ([right(1, 2)], {"level": 1.0}), ([right(1, 2)], {"samples": 0})],
)
def test_intervals_that_do_not_exist(groups, settings):
    with pytest.raises(InputError, match="expected"):
        bootstrap_interval(groups, **settings)


@pytest.mark.parametrize(("first_only", "second_only"), [(0, 1), (5, 5), (3, 12), (12, 3), (0, 20), (40, 61)])
def test_mcnemar_reference(first_only, second_only):
    first = np.array([True] * first_only + [False] * second_only + [True] * 7 + [False] * 4)
    second = np.array([False] * first_only + [True] * second_only + [True] * 7 + [False] * 4)
    test = exact_mcnemar(first, second)
    assert (test.first_only, test.second_only) == (first_only, second_only)
    assert test.p_value == pytest.approx(slow.mcnemar_p_value(first_only, second_only))


def test_equal_classifiers_do_not_differ():
    assert exact_mcnemar(right(3, 9), right(3, 9)).p_value == 1.0
    assert exact_mcnemar(right(0, 0), right(0, 0)).p_value == 1.0


def test_mcnemar_needs_one_length():
    with pytest.raises(InputError, match="one length"):
        exact_mcnemar(right(1, 2), right(1, 3))


def test_runs_are_matched_by_id():
    first, second = generated(0), generated(1)
    second = replace(second, labels=first.labels)
    test = compare(first, second)
    one, other = (side.of("predictions").argmax(axis=1) == first.labels for side in (first, second))
    assert test == exact_mcnemar(one, other)
    assert test.first_only + test.second_only > 0
    shuffled = second.rows(np.random.default_rng(0).permutation(len(second)))
    assert compare(first, shuffled) == test


def test_classes_are_matched_by_name():
    first = generated()
    turned = replace(
        first,
        classes=first.classes[::-1],
        labels=2 - first.labels,
        logits={name: values[:, ::-1] for name, values in first.logits.items()},
    )
    assert compare(first, turned).p_value == 1.0


def test_runs_on_other_samples_are_refused():
    predictions = generated()
    with pytest.raises(InputError, match="the same samples, got 29 that only one has: 'sketch"):
        compare(predictions, predictions.rows(predictions.splits != "held_out"))
    with pytest.raises(InputError, match=f"every sample once, got {len(predictions)} ids again"):
        compare(predictions.concatenate([predictions, predictions]), predictions)
    with pytest.raises(InputError, match="equal labels"):
        compare(predictions, replace(predictions, labels=(predictions.labels + 1) % 3))


def test_mean_and_standard_deviation():
    values = [0.5, 0.75, 0.7, 0.1]
    mean, deviation = mean_and_standard_deviation(values)
    assert mean == pytest.approx(sum(values) / 4)
    assert deviation == pytest.approx(slow.standard_deviation(values))


def test_single_value_has_no_deviation():
    assert mean_and_standard_deviation([0.5]) == (0.5, None)
    assert mean_and_standard_deviation([0.5, 0.5]) == (0.5, 0.0)


@pytest.mark.parametrize("values", [[], [0.5, float("nan")], [[0.5]]])
def test_values_without_a_mean(values):
    with pytest.raises(InputError, match="finite numbers"):
        mean_and_standard_deviation(values)


def test_stratified_reference():
    strata, extremes = [np.array([0.0, 0.25, 0.5] * 10), np.array([0.5] * 20 + [0.0] * 5)], [(0.0, 0.5), (-0.5, 0.5)]
    drawn = slow.stratified_sums([list(values) for values in strata], extremes, samples=3000, seed=1)
    interval = stratified_interval(strata, extremes)
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert interval.accuracy == pytest.approx(0.25 + 0.4)
    assert interval.low == pytest.approx(low, abs=0.01)
    assert interval.high == pytest.approx(high, abs=0.01)


def test_one_run_has_the_interval_of_its_accuracy():
    groups = [right(300, 400), right(50, 250)]
    plain = bootstrap_interval(groups, samples=20_000)
    parts = stratified_interval([group / 2 for group in groups], [(0.0, 0.5)] * 2, samples=20_000)
    assert parts.accuracy == pytest.approx(plain.accuracy)
    assert parts.low == pytest.approx(plain.low, abs=2e-3)
    assert parts.high == pytest.approx(plain.high, abs=2e-3)


def test_seeds_that_agree_make_no_interval_narrower():
    group = right(300, 400).astype(float)
    one, three = (stratified_interval([values], [(0.0, 1.0)]) for values in (group, (group + group + group) / 3))
    assert (three.low, three.high) == pytest.approx((one.low, one.high), abs=5e-3)


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_a_difference_on_a_few_images_is_not_clear(count):
    interval = stratified_interval([np.ones(count)], [(-1.0, 1.0)])
    assert interval.low <= 0.0 < interval.accuracy == interval.high == 1.0
    assert exact_mcnemar(np.ones(count), np.zeros(count)).p_value > 0.05
    assert stratified_interval([np.ones(10 * count)], [(-1.0, 1.0)]).low > 0.0


def test_values_outside_of_their_extremes_are_refused():
    with pytest.raises(InputError, match=r"expected values in \[0, 0.5\], got 0 to 1"):
        stratified_interval([right(1, 3)], [(0.0, 0.5)])


@pytest.mark.parametrize(("strata", "options"), [([], {}), ([np.array([])], {}), ([np.ones(3)], {"level": 1.0})])
def test_stratified_interval_of_nothing(strata, options):
    with pytest.raises(InputError, match="expected"):
        stratified_interval(strata, [(0.0, 1.0)] * len(strata), **options)


@pytest.mark.parametrize("values", [[], [0.2], [0.01, 0.04, 0.03, 0.5], [0.5, 0.5, 0.9], [0.0, 1.0, 0.02]])
def test_holm_reference(values):
    assert holm(values) == pytest.approx(slow.holm(values))


def test_holm_refuses_what_is_no_probability():
    with pytest.raises(InputError, match="p values"):
        holm([1.5])
