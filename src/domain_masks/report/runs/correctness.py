"""Which images a run classifies correctly, for intervals, tests and tables of masks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from domain_masks.errors import DomainMasksError
from domain_masks.evaluation import exact_mcnemar, metrics, one_vs_rest_auroc, samples_by_measure
from domain_masks.evaluation.accuracy import by_domain, correct
from domain_masks.evaluation.intervals import Interval, McNemar, stratified_interval
from domain_masks.records.collection import RunRecord
from domain_masks.records.ensemble_names import PREDICTION_ENSEMBLE
from domain_masks.records.measured_metrics import MeasureMetrics
from domain_masks.records.predictions import Predictions


@dataclass(frozen=True, eq=False)
class Correctness:
    """The correctness of the predictions for the images of one measure, by domain.

    - ``ids``: domain -> (N_d,) sorted image ids
    - ``right``: ensemble -> domain -> (N_d,) boolean, whether each image is classified correctly
    """

    ids: Mapping[str, NDArray[np.str_]]
    right: Mapping[str, Mapping[str, NDArray[np.bool_]]]

    def accuracy(self, ensemble: str, domain: str) -> float | None:
        """Return an accuracy in [0, 1], or None without such an ensemble or domain."""
        values = self.right.get(ensemble, {}).get(domain)
        return None if values is None else float(values.mean())


@dataclass(frozen=True, eq=False)
class RunCorrectness:
    """The correctness of one run by measure; ``problem`` says why it is empty."""

    by_measure: Mapping[str, Correctness]
    problem: str = ""
    record: RunRecord | None = None

    @cached_property
    def metrics(self) -> Mapping[str, MeasureMetrics]:
        """Measure -> metrics; those that ``results.json`` of an older version lacks are computed from the predictions."""
        if self.record is None:
            return {}
        stored = self.record.results.metrics
        if stored is not None or self.problem:
            return stored or {}
        return metrics(self.record.predictions(), self.record.results.temperatures)


def correctness_of(record: RunRecord) -> RunCorrectness:
    """Return the correctness of a run's predictions; an unreadable file is noted, not raised."""
    try:
        return RunCorrectness(_by_measure(record.predictions()), record=record)
    except DomainMasksError as error:
        return RunCorrectness({}, str(error), record)


def class_areas(record: RunRecord, measure: str) -> dict[str, dict[str, tuple[float | None, int]]]:
    """Return domain -> class -> its one-vs-rest AUROC, None where undefined, and the number of its images.

    Empty where the run lacks the measure or its predictions.
    """
    try:
        samples = samples_by_measure(record.predictions()).get(measure)
    except DomainMasksError:
        return {}
    if samples is None:
        return {}
    found = {}
    for domain, (logits, labels) in by_domain(samples, samples.of(PREDICTION_ENSEMBLE)).items():
        counts = np.bincount(labels, minlength=len(samples.classes)).tolist()
        found[domain] = dict(
            zip(samples.classes, zip(one_vs_rest_auroc(logits, labels), counts, strict=True), strict=True)
        )
    return found


def interval(runs: Sequence[Correctness], ensemble: str, weights: Sequence[float] | None = None) -> Interval | None:
    """Return the interval over test images of the mean accuracy of several runs, each the mean over its domains.

    - ``weights``: of the runs; by default equal and summing to 1. Negative weights give the interval of a difference

    An image evaluated by several runs (other seeds or held-out domains) is resampled with all its predictions together. None
    if a run lacks the ensemble, or the runs have different images.
    """
    shares = [1 / len(runs)] * len(runs) if weights is None else weights
    ids: dict[str, NDArray[np.str_]] = {}
    strata: dict[str, NDArray[np.float64]] = {}
    extremes: dict[str, tuple[float, float]] = {}
    for run, share in zip(runs, shares, strict=True):
        right = run.right.get(ensemble)
        if not right:
            return None
        for domain, values in right.items():
            if domain in ids and not np.array_equal(ids[domain], run.ids[domain]):
                return None
            ids[domain] = run.ids[domain]
            weight = share / len(right)
            strata[domain] = strata.get(domain, np.zeros(len(values))) + values * weight
            least, largest = extremes.get(domain, (0.0, 0.0))
            extremes[domain] = least + min(weight, 0.0), largest + max(weight, 0.0)
    return stratified_interval(list(strata.values()), list(extremes.values())) if strata else None


def paired(first: Correctness, second: Correctness, ensembles: tuple[str, str]) -> McNemar | None:
    """Return the exact McNemar test of two runs; None unless they have the same images."""
    one, other = first.right.get(ensembles[0], {}), second.right.get(ensembles[1], {})
    if not one or set(one) != set(other) or any(not np.array_equal(first.ids[name], second.ids[name]) for name in one):
        return None
    return exact_mcnemar(*(np.concatenate([side[name] for name in one]) for side in (one, other)))


def pooled(tests: Iterable[McNemar]) -> McNemar:
    """Return the test of the summed counts of tests on different images."""
    listed = list(tests)
    first, second = sum(test.first_only for test in listed), sum(test.second_only for test in listed)
    return exact_mcnemar(np.arange(first + second) < first, np.arange(first + second) >= first)


def _by_measure(predictions: Predictions) -> dict[str, Correctness]:
    return {measure: _correctness(samples) for measure, samples in samples_by_measure(predictions).items()}


def _correctness(predictions: Predictions) -> Correctness:
    ids: dict[str, NDArray[np.str_]] = {}
    right: dict[str, dict[str, NDArray[np.bool_]]] = {}
    correctness = {name: correct(values, predictions.labels) for name, values in predictions.logits.items()}
    for index in np.unique(predictions.domains):
        name = predictions.domain_names[index]
        rows = np.flatnonzero(predictions.domains == index)
        rows = rows[np.argsort(predictions.ids[rows], kind="stable")]
        ids[name] = predictions.ids[rows]
        for ensemble, values in correctness.items():
            right.setdefault(ensemble, {})[name] = values[rows]
    return Correctness(ids, right)
