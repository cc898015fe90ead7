"""The difference in accuracy between two lines of runs over the same images and seeds, with its uncertainty."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from domain_masks.records.collection import RunRecord
from domain_masks.records.ensemble_names import PREDICTION_ENSEMBLE
from domain_masks.report.runs.accuracies import accuracy_of
from domain_masks.report.runs.correctness import interval
from domain_masks.report.runs.groups import Group
from domain_masks.report.runs.held_out import target_of
from domain_masks.report.runs.lines import Line
from domain_masks.report.tables.table import signed

REPRODUCED, UNCLEAR, IN_PART, NOT_REPRODUCED = "reproduced", "not clear", "in part", "not reproduced"


@dataclass(frozen=True)
class AccuracyDifference:
    """The difference of two mean accuracies, in [-1, 1], and on how many held-out domains the first is higher.

    - ``by_seed``: seed -> difference, for the seeds with every held-out domain
    - ``deviation``: standard deviation over these seeds, None for one seed
    - ``bounds``: 95 % interval over test images, None if predictions are missing
    """

    difference: float
    higher: int
    domains: int
    by_seed: Mapping[int, float]
    deviation: float | None
    bounds: tuple[float, float] | None

    @property
    def result(self) -> str:
        """Whether the first is higher.

        Not clear if the interval contains 0, or the seeds differ in sign or by more than the difference; in part if the mean
        is higher, but not on most held-out domains.
        """
        if self.bounds is not None and self.bounds[0] <= 0 <= self.bounds[1]:
            return UNCLEAR
        signs = {value > 0 for value in self.by_seed.values()}
        if len(signs) > 1 or (self.deviation is not None and self.deviation > abs(self.difference)):
            return UNCLEAR
        if self.difference <= 0:
            return NOT_REPRODUCED
        # A mean that is raised by a single domain is not a finding.
        return REPRODUCED if 2 * self.higher > self.domains else IN_PART

    def __str__(self) -> str:
        """The difference in points with its interval and its deviation over seeds."""
        text = f"{signed(100 * self.difference)} points"
        if self.bounds is not None:
            text += f" [{signed(100 * self.bounds[0], 1)}, {signed(100 * self.bounds[1], 1)}]"
        return f"{text}{self.seeds_in_words}; higher with {self.higher} of {self.domains} held-out domains"

    @property
    def seeds_in_words(self) -> str:
        """The seeds that the difference is computed from, and the deviation over them."""
        if self.deviation is not None:
            return f" (± {100 * self.deviation:.2f} over seeds {', '.join(map(str, self.by_seed))})"
        return f" (only seed {next(iter(self.by_seed))})" if self.by_seed else ""


def gap(group: Group, first: Line, second: Line, measures: tuple[str, str]) -> AccuracyDifference | None:
    """Return the mean difference of two lines over the seeds with which both have every held-out domain; None without any."""
    targets = group.main_targets
    by_seed: dict[int, dict[str, tuple[tuple[RunRecord, RunRecord], float]]] = {}
    for target in targets:
        others = {record.results.seed: record for record in second.by_target.get(target, ())}
        for record in first.by_target.get(target, ()):
            other = others.get(record.results.seed)
            first_accuracy = accuracy_of(record, measures[0])
            second_accuracy = None if other is None else accuracy_of(other, measures[1])
            if other is not None and first_accuracy is not None and second_accuracy is not None:
                found = (record, other), first_accuracy - second_accuracy
                by_seed.setdefault(record.results.seed, {})[target] = found
    complete = {seed: found for seed, found in sorted(by_seed.items()) if len(found) == len(targets)}
    if not complete:
        return None
    by_target = {target: [found[target][1] for found in complete.values()] for target in targets}
    means = [sum(values) / len(values) for values in by_target.values()]
    seeds = {seed: sum(value for _, value in found.values()) / len(targets) for seed, found in complete.items()}
    deviation = float(pd.Series(list(seeds.values())).std()) if len(seeds) > 1 else None
    bounds = _bounds(group, [pair for found in complete.values() for pair, _ in found.values()], measures, by_target)
    return AccuracyDifference(
        sum(means) / len(means), sum(mean > 0 for mean in means), len(means), seeds, deviation, bounds
    )


def _bounds(
    group: Group,
    pairs: Sequence[tuple[RunRecord, RunRecord]],
    measures: tuple[str, str],
    by_target: Mapping[str, Sequence[float]],
) -> tuple[float, float] | None:
    """Return the interval of the difference, resampling images with the predictions of both lines."""
    correctness, weights = [], []
    for pair in pairs:
        share = 1 / (len(by_target) * len(by_target[target_of(pair[0])]))
        for record, measure, sign in zip(pair, measures, (1, -1), strict=True):
            of_run = group.of(record).by_measure.get(measure)
            if of_run is None:
                return None
            correctness.append(of_run)
            weights.append(sign * share)
    bounds = interval(correctness, PREDICTION_ENSEMBLE, weights)
    return None if bounds is None else (bounds.low, bounds.high)
