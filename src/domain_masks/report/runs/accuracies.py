"""Accuracies of lines of runs by held-out domain and overall: mean, deviation over seeds, interval over test images."""

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
from domain_masks.report.runs.groups import Group
from domain_masks.report.runs.lines import Line
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
      "overall" is the unweighted mean over held-out domains, per seed with every domain; missing if a line lacks a
      held-out domain that others have
    - ``low``, ``high``: 95 % bootstrap interval over test images; see :func:`.correctness.interval`
    - ``paper_accuracy``, ``difference``: only if the protocol is the paper's, and for "overall" only if each of the paper's
      domains was held out
    """
    chosen = (*group.lines, *group.published) if lines is None else lines
    rows = [row for line in chosen for row in _rows_of(group, line)]
    return typed(rows, SUMMARY)


def target_differences(line: Line, target: str) -> list[Difference]:
    """Return the differences of a line's runs on one held-out domain from the paper's protocol."""
    result = differences(line.by_target.get(target, ()))
    # The paper's setting, if chosen on the held-out domain, does not follow the paper's protocol.
    return [*result, _ORACLE] if line.by_oracle else result


def overall_differences(line: Line, targets: Sequence[str]) -> list[Difference]:
    """Return the differences of a line's mean over ``targets`` from the paper's mean over all domains."""
    result = [difference for target in targets for difference in target_differences(line, target)]
    dataset = line.first.results.dataset
    held_out = [target for target in targets if line.by_target.get(target)]
    if missing := missing_domains(dataset, held_out):
        result.append(Difference("mean over held-out domains", "each in turn", f"without {', '.join(missing)}"))
    return list(dict.fromkeys(result))


def accuracies_of(record: RunRecord, measure: str) -> Accuracies | None:
    """Return one measure of a run's results, or None."""
    accuracies: Accuracies | None = getattr(record.results, measure)
    return accuracies


def accuracy_of(record: RunRecord, measure: str, ensemble: str = PREDICTION_ENSEMBLE) -> float | None:
    """Return an accuracy in [0, 1], or None if the run lacks the measure or ensemble."""
    accuracies = accuracies_of(record, measure)
    if accuracies is None:
        return None
    return accuracies.accuracy if ensemble == PREDICTION_ENSEMBLE else accuracies.by_ensemble.get(ensemble)


def ensembles_of(records: Sequence[RunRecord], measure: str) -> list[str]:
    """Return the ensembles of the runs in one measure, the prediction ensemble first and single masks last."""
    names = [PREDICTION_ENSEMBLE]
    for record in records:
        measured = accuracies_of(record, measure)
        names += measured.by_ensemble if measured is not None else ()
    return sorted(dict.fromkeys(names), key=lambda name: name.startswith(KNOWN_DOMAIN))


def _rows_of(group: Group, line: Line) -> Iterator[dict[str, Any]]:
    comparable = {target: not target_differences(line, target) for target in group.main_targets}
    is_overall_comparable = not overall_differences(line, group.main_targets)
    for measure in MEASURE_TITLES:
        if all(accuracies_of(record, measure) is None for record in line.records):
            continue
        names = [PREDICTION_ENSEMBLE] if measure == WITH_KNOWN_DOMAIN else ensembles_of(line.records, measure)
        for ensemble in names:
            for target in group.main_targets:
                records = line.by_target.get(target, ())
                yield _row(group, line, measure, ensemble, target, records, comparable[target])
            if not ensemble.startswith(KNOWN_DOMAIN):
                yield _row(group, line, measure, ensemble, OVERALL, complete_runs(group, line), is_overall_comparable)


def complete_runs(group: Group, line: Line) -> tuple[RunRecord, ...]:
    """Return the runs with seeds for which every held-out domain was run."""
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
            dict.fromkeys(measured.split for record in records if (measured := accuracies_of(record, measure)))
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
    # The paper measures in-domain accuracy on test images.
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
    results = line.first.results
    return paper_number(results.dataset, results.backbone, line.method, line.optimizer, measure, ensemble, held_out)


def _images(records: Sequence[RunRecord], measure: str) -> int | None:
    """Return the number of images per seed, summed over its held-out domains; None if unknown."""
    counts: dict[str, int] = {}
    for record in records:
        measured = accuracies_of(record, measure)
        if measured is None or measured.count is None:
            return None
        counts[",".join(record.results.targets)] = measured.count
    return sum(counts.values())


def _interval(group: Group, measure: str, ensemble: str, records: Sequence[RunRecord]) -> Interval | None:
    by_run = [group.of(record).by_measure.get(measure) for record in records]
    available = [correctness for correctness in by_run if correctness is not None]
    return interval(available, ensemble) if len(available) == len(records) else None


def overall(frame: pd.DataFrame, measure: str = OUT_OF_DOMAIN, ensemble: str = PREDICTION_ENSEMBLE) -> pd.DataFrame:
    """Return the rows of :func:`summary` with an "overall" accuracy in one measure and ensemble."""
    chosen = (frame["measure"] == measure) & (frame["ensemble"] == ensemble) & (frame["held_out"] == OVERALL)
    return frame[chosen & frame["accuracy"].notna()]
