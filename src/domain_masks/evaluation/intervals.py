"""Confidence intervals of accuracies, and paired tests of differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domain_masks.errors import InputError
from domain_masks.evaluation.accuracy import by_domain, correct
from domain_masks.records.ensemble_names import PREDICTION_ENSEMBLE
from domain_masks.records.predictions import Predictions

ADDED = 0.5
"""Samples added to both extremes before they are drawn, as in Jeffreys' prior: of little weight beside a hundred samples."""


@dataclass(frozen=True)
class Interval:
    """An accuracy with the bounds of its interval, all in [0, 1]."""

    accuracy: float
    low: float
    high: float


@dataclass(frozen=True)
class McNemar:
    """McNemar's test of two classifiers on the same samples: the samples that only one classifies correctly, and the p value.

    ``p_value`` is two-sided, in [0, 1].
    """

    first_only: int
    second_only: int
    p_value: float


def bootstrap_interval(
    groups: Sequence[NDArray[Any]], level: float = 0.95, samples: int = 10_000, seed: int = 0
) -> Interval:
    """Return the bootstrap percentile interval of an accuracy that is the unweighted mean over ``groups``.

    ``groups``: for each domain, (N_d,) whether a sample is correct. Samples are drawn with replacement within each
    domain, as many as there are, out of these and half a sample that is correct and half a one that is not
    (:data:`ADDED`): else samples that are all correct would leave no doubt, however few they are. The interval covers
    the choice of test images, not of seeds. Equal arguments give equal intervals. Raises InputError for an empty group, a
    level outside (0, 1), or no samples.
    """
    strata = [np.asarray(group, dtype=np.bool_) / len(groups) for group in groups]
    return stratified_interval(strata, [(0.0, 1 / len(strata)) for _ in strata], level, samples, seed)


def accuracy_interval(
    predictions: Predictions,
    ensemble: str = PREDICTION_ENSEMBLE,
    level: float = 0.95,
    samples: int = 10_000,
    seed: int = 0,
) -> Interval:
    """Return the interval of the accuracy of ``ensemble``, the unweighted mean over the domains present.

    See :func:`bootstrap_interval`, also for errors.
    """
    parts = by_domain(predictions, predictions.of(ensemble))
    return bootstrap_interval([correct(*part) for part in parts.values()], level, samples, seed)


def stratified_interval(
    strata: Sequence[NDArray[Any]],
    extremes: Sequence[tuple[float, float]],
    level: float = 0.95,
    samples: int = 10_000,
    seed: int = 0,
) -> Interval:
    """Return the bootstrap percentile interval of a sum over ``strata`` of the means of their values.

    - ``strata``: for each domain, (N_d,) each image's contribution: how often it is correct, over the runs that saw it,
      times its domain's weight in the mean. So several runs on the same images, such as seeds, are resampled together
    - ``extremes``: for each domain, the least and the largest contribution that an image can have

    Images are drawn with replacement within each stratum, as many as there are, out of these and half an image at either
    extreme (:data:`ADDED`); the counts of the values are multinomial, and are drawn in place of the images, without an array
    of ``samples`` x N. The interval covers the choice of test images, not of seeds.

    Raises InputError for an empty stratum, a value outside its extremes, a level outside (0, 1), or no samples.
    """
    if not strata or any(len(values) == 0 for values in strata):
        raise InputError(f"expected at least one sample in every domain, got {[len(values) for values in strata]}")
    if not 0 < level < 1 or samples < 1:
        raise InputError(f"expected a level in (0, 1) and at least one sample, got {level} and {samples}")
    generator = np.random.default_rng(seed)
    drawn = np.zeros(samples)
    total = 0.0
    for stratum, (least, largest) in zip(strata, extremes, strict=True):
        values, counts = np.unique(np.asarray(stratum, dtype=np.float64), return_counts=True)
        margin = 1e-9 * max(abs(least), abs(largest))
        if not least - margin <= values[0] <= values[-1] <= largest + margin:
            raise InputError(f"expected values in [{least:g}, {largest:g}], got {values[0]:g} to {values[-1]:g}")
        size = int(counts.sum())
        total += float(values @ counts) / size
        values, chances = np.append(values, (least, largest)), np.append(counts, (ADDED, ADDED)) / (size + 2 * ADDED)
        drawn += generator.multinomial(size, chances, size=samples) @ values / size
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Interval(accuracy=total, low=float(low), high=float(high))


def exact_mcnemar(first: NDArray[Any], second: NDArray[Any]) -> McNemar:
    """Return the exact McNemar test of two classifiers on the same samples.

    ``first`` and ``second``: (N,) whether each is correct. Under the null hypothesis, each has half of the samples that
    only one classifies correctly: a two-sided binomial test. Without such samples the p value is 1. Raises InputError
    if the lengths differ.
    """
    # scipy.stats takes seconds to import, and only this test needs it.
    from scipy.stats import binomtest  # type: ignore[import-untyped]  # noqa: PLC0415

    first, second = np.asarray(first, dtype=np.bool_), np.asarray(second, dtype=np.bool_)
    if first.ndim != 1 or first.shape != second.shape:
        raise InputError(f"expected two vectors of one length, got the shapes {first.shape} and {second.shape}")
    first_only, second_only = int((first & ~second).sum()), int((~first & second).sum())
    total = first_only + second_only
    p_value = float(binomtest(first_only, total, 0.5).pvalue) if total else 1.0
    return McNemar(first_only=first_only, second_only=second_only, p_value=p_value)


def compare(first: Predictions, second: Predictions, ensemble: str = PREDICTION_ENSEMBLE) -> McNemar:
    """Return the exact McNemar test of two runs on the same samples, which are matched by their ids.

    Raises InputError if an id occurs twice, if the ids differ, or if a sample's label does.
    """
    rows = []
    for predictions in (first, second):
        ids, order = np.unique(predictions.ids, return_index=True)
        if len(ids) < len(predictions):
            raise InputError(f"expected every sample once, got {len(predictions) - len(ids)} ids again")
        rows.append(predictions.rows(order))
    one, other = rows
    if not np.array_equal(one.ids, other.ids):
        apart = np.setxor1d(one.ids, other.ids)
        raise InputError(
            f"expected predictions for the same samples, got {len(apart)} that only one has: {str(apart[0])!r}. "
            "Select the same split and domain of both"
        )
    truth, other_truth = (np.asarray(side.classes, dtype=np.str_)[side.labels] for side in rows)
    different = one.ids[truth != other_truth]
    if len(different):
        raise InputError(
            f"expected equal labels, got different ones for {len(different)} samples, such as {str(different[0])!r}"
        )
    return exact_mcnemar(*(correct(side.of(ensemble), side.labels) for side in rows))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values corrected for multiple testing (Holm, 1979), in the same order, in [0, 1].

    The smallest is multiplied by their number, the next by one less, and so on; the results never decrease in this order.
    Raises InputError for values outside [0, 1].
    """
    values = np.asarray(p_values, dtype=np.float64)
    if values.ndim != 1 or not ((values >= 0) & (values <= 1)).all():
        raise InputError(f"expected p values in [0, 1], got {list(p_values)}")
    order = np.argsort(values, kind="stable")
    raised = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1)) if len(values) else values
    corrected = np.empty_like(values)
    corrected[order] = np.minimum(raised, 1.0)
    return [float(value) for value in corrected]


def mean_and_standard_deviation(values: Sequence[float]) -> tuple[float, float | None]:
    """Return the mean and the sample standard deviation (N - 1 in the denominator), None for a single value.

    Raises InputError if there are no values or if one is not finite.
    """
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.ndim != 1 or len(numbers) == 0 or not np.isfinite(numbers).all():
        raise InputError(f"expected a list of finite numbers, got {list(values)}")
    return float(numbers.mean()), float(numbers.std(ddof=1)) if len(numbers) > 1 else None
