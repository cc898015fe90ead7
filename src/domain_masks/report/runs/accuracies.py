"""Accuracies of rows of runs, by held-out domain and overall: mean, deviation over seeds, interval over test images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from domain_masks.evaluation import mean_and_standard_deviation
from domain_masks.evaluation.intervals import Interval
from domain_masks.records.collection import RunRecord
from domain_masks.records.ensemble_names import KNOWN_DOMAIN, PREDICTION_ENSEMBLE
from domain_masks.records.results import MEASURE_TITLES, OUT_OF_DOMAIN, OVERALL, WITH_KNOWN_DOMAIN, Accuracies
from domain_masks.report.runs.correctness import interval
from domain_masks.report.runs.groups import Group, Line
from domain_masks.report.runs.paper_numbers import PaperNumber, paper_number
from domain_masks.report.runs.paper_protocol import Difference, differences, missing_domains
from domain_masks.report.tables.table import typed

SUMMARY = {
    "group": "str",
    "dataset": "str",
    "backbone": "str",
    "method": "str",
    "optimizer": "str",
    "line": "str",
    "setting": "str",
    "chosen_by": "str",
    "target_labels_used": "boolean",
    "measure": "str",
    "ensemble": "str",
    "split": "str",
    "held_out": "str",
    "seeds": "Int64",
    "runs": "Int64",
    "images": "Int64",
    "accuracy": "Float64",
    "deviation": "Float64",
    "low": "Float64",
    "high": "Float64",
    "paper_table": "Int64",
    "paper_accuracy": "Float64",
    "difference": "Float64",
}
"""Columns of :func:`summary`; accuracies are fractions in [0, 1]."""


_ORACLE = Difference("setting chosen by", "fixed beforehand", "oracle, on the held-out domain itself")


def summary(group: Group, lines: Sequence[Line] | None = None) -> pd.DataFrame:
    """Return a row per line (by default all of the group), measure, ensemble and held-out domain, and for "overall".

    - ``accuracy``, ``deviation``: mean and sample standard deviation over seeds; the deviation is missing for one seed.
      "overall" is the unweighted mean over held-out domains, per seed, of seeds that have them all; missing where a line
      lacks a held-out domain that others have
    - ``low``, ``high``: 95 % bootstrap interval over test images, all seeds drawn together; see :func:`.correctness.interval`
    - ``paper_accuracy``, ``difference``: the paper's number, where the protocol is the paper's; of "overall" only where
      each of the paper's domains was held out by itself
    """
    chosen = (*group.lines, *group.published) if lines is None else lines
    rows = [row for line in chosen for row in _rows_of(group, line)]
    return typed(rows, SUMMARY)


def target_differences(line: Line, target: str) -> list[Difference]:
    """Return in what a line's runs of one held-out domain depart from the paper's protocol."""
    found = differences(line.by_target.get(target, ()))
    # A run of the paper's setting is no result of the paper's protocol where the held-out domain chose it.
    return [*found, _ORACLE] if line.by_oracle else found


def overall_differences(line: Line, targets: Sequence[str]) -> list[Difference]:
    """Return why a line's mean over ``targets`` is another one than the paper's mean over all domains."""
    found = [one for target in targets for one in target_differences(line, target)]
    dataset = line.records[0].results.dataset
    held_out = [target for target in targets if line.by_target.get(target)]
    if missing := missing_domains(dataset, held_out):
        found.append(Difference("mean over held-out domains", "each in turn", f"without {', '.join(missing)}"))
    return list(dict.fromkeys(found))


def accuracies_of(record: RunRecord, measure: str) -> Accuracies | None:
    """Return one measure of a run's results."""
    found: Accuracies | None = getattr(record.results, measure)
    return found


def accuracy_of(record: RunRecord, measure: str, ensemble: str = PREDICTION_ENSEMBLE) -> float | None:
    """Return a fraction, or None where the run has no such measure or ensemble."""
    found = accuracies_of(record, measure)
    if found is None:
        return None
    return found.accuracy if ensemble == PREDICTION_ENSEMBLE else found.by_ensemble.get(ensemble)


def ensembles_of(records: Sequence[RunRecord], measure: str) -> list[str]:
    """Return the ensembles of some runs in one measure, the prediction ensemble first and single masks last."""
    found = [PREDICTION_ENSEMBLE]
    for record in records:
        measured = accuracies_of(record, measure)
        found += measured.by_ensemble if measured is not None else ()
    return sorted(dict.fromkeys(found), key=lambda name: name.startswith(KNOWN_DOMAIN))


def _rows_of(group: Group, line: Line) -> Iterator[dict[str, Any]]:
    comparable = {target: not target_differences(line, target) for target in group.main_targets}
    whole = not overall_differences(line, group.main_targets)
    for measure in MEASURE_TITLES:
        if all(accuracies_of(record, measure) is None for record in line.records):
            continue
        names = [PREDICTION_ENSEMBLE] if measure == WITH_KNOWN_DOMAIN else ensembles_of(line.records, measure)
        for ensemble in names:
            for target in group.main_targets:
                records = line.by_target.get(target, ())
                yield _row(group, line, measure, ensemble, target, records, comparable[target])
            if not ensemble.startswith(KNOWN_DOMAIN):
                yield _row(group, line, measure, ensemble, OVERALL, _complete(group, line), whole)


def _complete(group: Group, line: Line) -> tuple[RunRecord, ...]:
    """Return the runs of the seeds that have every held-out domain."""
    parts = [line.by_target.get(target, ()) for target in group.main_targets]
    seeds = set.intersection(*({record.results.seed for record in part} for part in parts)) if parts else set()
    return tuple(record for part in parts for record in part if record.results.seed in seeds)


def _row(
    group: Group,
    line: Line,
    measure: str,
    ensemble: str,
    held_out: str,
    records: Sequence[RunRecord],
    comparable: bool,
) -> dict[str, Any]:
    values: dict[int, list[float]] = {}
    for record in records:
        if (value := accuracy_of(record, measure, ensemble)) is not None:
            values.setdefault(record.results.seed, []).append(value)
    complete = records and all(accuracy_of(record, measure, ensemble) is not None for record in records)
    row: dict[str, Any] = {
        "group": group.name,
        "dataset": group.dataset,
        "backbone": group.backbone,
        "method": line.method,
        "optimizer": line.optimizer,
        "line": line.label,
        "setting": line.chosen.get(held_out, line.setting),
        "chosen_by": line.rule or None,
        "target_labels_used": line.oracle,
        "measure": measure,
        "ensemble": ensemble,
        "split": ", ".join(
            dict.fromkeys(found.split for record in records if (found := accuracies_of(record, measure)))
        ),
        "held_out": held_out,
        "seeds": len(values),
        "runs": len(records),
    }
    if not complete:
        return row
    mean, deviation = mean_and_standard_deviation([sum(part) / len(part) for part in values.values()])
    row |= {"accuracy": mean, "deviation": deviation, "images": _images(records, measure)}
    if (bounds := _interval(group, measure, ensemble, records)) is not None:
        row |= {"low": bounds.low, "high": bounds.high}
    # The paper's accuracies in domain are of test images.
    same_split = measure == OUT_OF_DOMAIN or "validation" not in str(row["split"]).split(", ")
    if comparable and same_split and (printed := _printed(line, measure, ensemble, held_out)) is not None:
        row |= {
            "paper_table": printed.table,
            "paper_accuracy": printed.accuracy,
            "difference": mean - printed.accuracy,
        }
    return row


def has_printed(line: Line, target: str) -> bool:
    """Whether the paper has any number for a line and held-out domain, comparable or not."""
    return any(_printed(line, measure, PREDICTION_ENSEMBLE, target) is not None for measure in MEASURE_TITLES)


def _printed(line: Line, measure: str, ensemble: str, held_out: str) -> PaperNumber | None:
    results = line.records[0].results
    return paper_number(results.dataset, results.backbone, line.method, line.optimizer, measure, ensemble, held_out)


def _images(records: Sequence[RunRecord], measure: str) -> int | None:
    """Return how many images one seed is measured on, over its held-out domains."""
    counts: dict[str, int] = {}
    for record in records:
        found = accuracies_of(record, measure)
        if found is None or found.count is None:
            return None
        counts[",".join(record.results.targets)] = found.count
    return sum(counts.values())


def _interval(group: Group, measure: str, ensemble: str, records: Sequence[RunRecord]) -> Interval | None:
    answers = [found for record in records if (found := group.of(record).by_measure.get(measure)) is not None]
    if len(answers) < len(records):
        return None
    return interval(answers, ensemble)


def overall(frame: pd.DataFrame, measure: str = OUT_OF_DOMAIN, ensemble: str = PREDICTION_ENSEMBLE) -> pd.DataFrame:
    """Return the rows of :func:`summary` for "overall" of one measure and ensemble that have a number."""
    chosen = (frame["measure"] == measure) & (frame["ensemble"] == ensemble) & (frame["held_out"] == OVERALL)
    return frame[chosen & frame["accuracy"].notna()]
