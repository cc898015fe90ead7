"""The accuracies of a benchmark as one table: methods and variants by held-out domain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from domain_masks.evaluation import mean_and_standard_deviation
from domain_masks.records import Results
from domain_masks.records.results import MEASURE_TITLES, OVERALL, held_out_name, main_targets

METRICS = ("macro_f1", "top_5", "auroc", "calibration_error", "calibrated_error")
HELD_OUT = "held_out_domains"
COLUMNS = (
    *("method", "target", "seed", "measure", "split", "accuracy", "images"),
    *(*METRICS, "worst_group_accuracy", HELD_OUT),
)
"""The columns of every table; the others are varied settings."""


def accuracy_table(results: Sequence[Results], varied: Sequence[Mapping[str, Any]] | None = None) -> pd.DataFrame:
    """Return one row per run and measure.

    - ``varied``: the varied settings of each run, name -> value as text; a column each, empty where a run has none

    Columns: method, the varied ones, target (held-out domains joined by commas), seed, measure, split (the data behind the
    number), accuracy (fraction), images (their number), the metrics of ``results.json``, empty where a run has none, and
    held_out_domains (how many the target is).
    """
    settings = varied if varied is not None else [{}] * len(results)
    names = list(dict.fromkeys(name for values in settings for name in values))
    rows = []
    for result, values in zip(results, settings, strict=True):
        for measure, title in MEASURE_TITLES.items():
            accuracies = getattr(result, measure)
            if accuracies is not None:
                rows.append(
                    {
                        "method": result.method,
                        **{name: values.get(name, "") for name in names},
                        "target": held_out_name(result.targets),
                        "seed": result.seed,
                        "measure": title,
                        "split": accuracies.split,
                        "accuracy": accuracies.accuracy,
                        "images": accuracies.count,
                        **_metrics(result, measure),
                        HELD_OUT: len(result.targets),
                    }
                )
    return pd.DataFrame(rows, columns=[COLUMNS[0], *names, *COLUMNS[1:]])


def _metrics(result: Results, measure: str) -> dict[str, float | None]:
    found = (result.metrics or {}).get(measure)
    if found is None:
        return dict.fromkeys((*METRICS, "worst_group_accuracy"))
    worst = found.worst_group
    return {name: getattr(found, name) for name in METRICS} | {
        "worst_group_accuracy": None if worst is None else worst.accuracy
    }


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Return mean and standard deviation over seeds, as text in percent.

    - ``table``: from :func:`accuracy_table`

    One row per measure, method and combination of varied settings, one column per held-out domain, and ``overall``: the
    unweighted mean over the main held-out domains (:func:`~domain_masks.records.results.main_targets`, as in the report) per
    seed, of which mean and standard deviation over seeds are shown. With one seed no deviation is shown.
    """
    rows = []
    varied = [name for name in table.columns if name not in COLUMNS]
    columns, main = _columns(table, varied), _main(table)
    # Sorted by measure; varied settings stay in the order of the runs.
    by_measure = sorted(table.groupby(["measure", "method", *varied], sort=False), key=lambda group: _rank(group[0][0]))
    for (measure, method, *values), group in by_measure:
        row = {"measure": f"{measure} ({', '.join(dict.fromkeys(group['split']))})", "method": method}
        row |= dict(zip(varied, values, strict=True))
        for target in columns:
            row[columns[target]] = _text(group[group["target"] == target]["accuracy"].tolist())
        per_seed = group[group["target"].isin(main)].pivot_table(index="seed", columns="target", values="accuracy")
        complete = per_seed.dropna()
        row[OVERALL] = _text(complete.mean(axis=1).tolist()) if len(complete.columns) == len(main) else "-"
        rows.append(row)
    return pd.DataFrame(rows)


def overall_in_words(table: pd.DataFrame) -> str:
    """Return what ``overall`` of :func:`summary` is the mean over; empty where it is over all columns."""
    columns, main = _columns(table, ()), _main(table)
    return "" if len(main) == len(columns) else f"{OVERALL}: over {', '.join(columns[target] for target in main)} alone"


def _columns(table: pd.DataFrame, varied: Sequence[str]) -> dict[str, str]:
    """Return held-out domains -> the name of their column; a domain may have the name of another column."""
    taken = {"measure", "method", OVERALL, *varied}
    targets = dict.fromkeys(table["target"])
    return {target: f"{target} (domain)" if target in taken else target or "(none held out)" for target in targets}


def _main(table: pd.DataFrame) -> list[str]:
    return main_targets(dict(zip(table["target"], table[HELD_OUT], strict=True)))


def _rank(measure: Any) -> int:
    return list(MEASURE_TITLES.values()).index(str(measure))


def _text(values: list[float]) -> str:
    if not values:
        return "-"
    mean, deviation = mean_and_standard_deviation([100 * value for value in values])
    return f"{mean:.2f}" if deviation is None else f"{mean:.2f} ± {deviation:.2f}"
