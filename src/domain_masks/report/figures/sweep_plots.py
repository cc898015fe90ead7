"""Figures of sweeps (Figures 3, 5 and 6): accuracies and overlap of the masks against the swept value."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pandas as pd

from domain_masks.evaluation.variants import METHOD
from domain_masks.records.results import MEASURE_TITLES, OVERALL
from domain_masks.report.figures.palette import MEAN
from domain_masks.report.figures.plots import Panel, Plot, Series
from domain_masks.report.runs.groups import Group
from domain_masks.report.runs.naming import as_file_name
from domain_masks.report.tables.sweep_tables import IOU, Sweep
from domain_masks.report.tables.table import is_missing, rows_of

_SYMBOLS = {"overlap_weight": "λ_O (overlap weight)", "sparsity_weight": "λ_S (sparsity weight)"}
_PAPERS = {"overlap_weight": " The paper's Figures 3 and 5.", "sparsity_weight": " The paper's Figure 6."}


def sweep_figures(group: Group, sweep: Sweep, frame: pd.DataFrame) -> list[Plot]:
    """Return accuracies and overlap against the swept value, and overlap by site."""
    name = sweep.setting.removeprefix(METHOD)
    places, ticks = axis(list(sweep.values))
    label = _SYMBOLS.get(name, name)
    panels = []
    for measure, title in MEASURE_TITLES.items():
        chosen = frame[(frame["measure"] == measure) & frame["mean"].notna()]
        if not chosen.empty:
            series = _series(chosen, "held_out", [*group.main_targets, OVERALL], places, 100.0)
            panels.append(Panel(title.capitalize(), label, "accuracy, %", series, ticks=ticks))
    overlap = frame[(frame["measure"] == IOU) & frame["mean"].notna()]
    if not overlap.empty:
        mean_of_sites = overlap[overlap["site"] == "mean"]
        series = _series(mean_of_sites, "held_out", [*group.main_targets, OVERALL], places, 1.0)
        panels.append(Panel("IoU of the masks, mean over sites", label, "IoU", series, ticks=ticks))
    others = f" Other settings: {sweep.others}." if sweep.others else ""
    caption = (
        f"{sweep.method}: {name} from {min(sweep.values):g} to {max(sweep.values):g}, one line per held-out domain; "
        "thick: their mean; shaded: ± one standard deviation over seeds, if there are "
        f"several.{others}{_PAPERS.get(name, '')}"
    )
    stem = f"{group.name}-sweep-{as_file_name(name)}-{sweep.method}" + (
        f"-{as_file_name(sweep.others)}" if sweep.others else ""
    )
    figures = [Plot(stem, f"Sweep of {label}", caption, panels)]
    by_site = overlap[overlap["site"] != "mean"]
    sites = list(dict.fromkeys(by_site["site"]))
    if len(sites) > 1:
        panels = []
        for target in [*group.main_targets, OVERALL]:
            series = _series(by_site[by_site["held_out"] == target], "site", sites, places, 1.0)
            if any(len(line.x) > 1 for line in series):
                title = "Mean over held-out domains" if target == OVERALL else f"{target or 'nothing'} held out"
                panels.append(Panel(title, label, "IoU", series, ticks=ticks, limits=(0, 1)))
        caption = f"{sweep.method}: overlap of the masks at each site.{others}{_PAPERS.get(name, '')}"
        figures.append(Plot(f"{stem}-by-site", f"Overlap by site against {label}", caption, panels))
    return figures


def axis(values: Sequence[float]) -> tuple[dict[float, float], list[tuple[float, str]]]:
    """Return value -> position on a logarithmic axis, with 0 to the left of the smallest value, and the ticks.

    If a value is negative, or fewer than two are positive, the axis is linear.
    """
    positive = sorted(value for value in values if value > 0)
    if not positive or min(values) < 0 or len(positive) < 2:
        return {value: value for value in values}, [(value, short(value)) for value in values]
    places = {value: math.log10(value) for value in positive}
    if 0.0 in values:
        places[0.0] = places[positive[0]] - max(1.0, (places[positive[-1]] - places[positive[0]]) / 6)
    return places, [(places[value], short(value)) for value in sorted(values)]


def short(value: float) -> str:
    """Return a number as short text for an axis: 0.0001 is "1e-4"."""
    digits, power = f"{value:.5e}".split("e")
    return min(f"{value:g}", f"{float(digits):g}e{int(power)}", key=len)


def _series(
    frame: pd.DataFrame, column: str, names: Sequence[str], places: Mapping[float, float], scale: float
) -> list[Series]:
    series = []
    for number, name in enumerate(names):
        rows = frame[frame[column] == name].sort_values("value")
        if rows.empty:
            continue
        values = rows_of(rows)
        series.append(
            Series(
                "mean" if name == OVERALL else (name or "(none held out)"),
                [places[row["value"]] for row in values],
                [scale * row["mean"] for row in values],
                MEAN if name == OVERALL else number + number // MEAN,
                [None if is_missing(row["deviation"]) else scale * row["deviation"] for row in values],
                is_mean=name == OVERALL,
            )
        )
    return series
