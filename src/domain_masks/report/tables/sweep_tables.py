"""What a swept setting does (Figures 3, 5 and 6): accuracies and overlap of the masks against its values."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from domain_masks.evaluation import mean_and_standard_deviation
from domain_masks.evaluation.variants import METHOD, Variant
from domain_masks.records.collection import RunRecord
from domain_masks.records.results import OVERALL
from domain_masks.report.figures.plots import Figure, Panel, Series
from domain_masks.report.runs.accuracies import accuracy_of
from domain_masks.report.runs.correctness import IN_DOMAIN, KNOWN, MEASURES, OUT_OF_DOMAIN
from domain_masks.report.runs.groups import Group, target_of
from domain_masks.report.runs.naming import as_file_name
from domain_masks.report.tables.table import is_missing, rows_of, typed

IOU = "overall_iou"
SWEEP = {
    "group": "str",
    "method": "str",
    "setting": "str",
    "value": "Float64",
    "others": "str",
    "measure": "str",
    "held_out": "str",
    "site": "str",
    "runs": "Int64",
    "mean": "Float64",
    "deviation": "Float64",
}
"""Columns of :func:`sweep_frame`; ``measure`` is an accuracy or "overall_iou", ``site`` a mask site or "mean"."""
_SYMBOLS = {"overlap_weight": "λ_O (overlap weight)", "sparsity_weight": "λ_S (sparsity weight)"}
_PAPERS = {"overlap_weight": " The paper's Figures 3 and 5.", "sparsity_weight": " The paper's Figure 6."}


@dataclass(frozen=True, eq=False)
class Sweep:
    """Variants of one method that differ in one number alone.

    - ``setting``: its name; ``others``: what else tells these variants from others, as text
    - ``values``: the variant of each value, in order
    """

    method: str
    setting: str
    others: str
    values: Mapping[float, Variant]


def sweeps_of(group: Group) -> list[Sweep]:
    """Return every series of at least two values of one numeric setting with all other settings equal."""
    found = []
    for method in dict.fromkeys(variant.method for variant in group.variants):
        mine = [variant for variant in group.variants if variant.method == method]
        names = dict.fromkeys(name for variant in mine for name, value in variant.settings.items() if _is_number(value))
        for name in names:
            series: dict[str, dict[float, Variant]] = {}
            for variant in mine:
                if _is_number(variant.settings.get(name)):
                    rest = {key: value for key, value in variant.settings.items() if key != name}
                    key = json.dumps(rest, sort_keys=True, default=str)
                    series.setdefault(key, {})[float(variant.settings[name])] = variant
            for rest_key, values in series.items():
                if len(values) > 1:
                    rest = json.loads(rest_key)
                    others = ", ".join(f"{key.removeprefix(METHOD)} {value}" for key, value in rest.items())
                    found.append(Sweep(method, name, others, dict(sorted(values.items()))))
    return found


def sweep_frame(group: Group, sweep: Sweep) -> pd.DataFrame:
    """Return mean and deviation over seeds of every accuracy and overlap, by value, held-out domain and mask site."""
    rows = []
    for value, variant in sweep.values.items():
        shared = {
            "group": group.name,
            "method": sweep.method,
            "setting": sweep.setting.removeprefix(METHOD),
            "value": value,
            "others": sweep.others,
        }
        by_target: dict[str, list[RunRecord]] = {target: [] for target in group.main_targets}
        for record in variant.records:
            if target_of(record) in by_target:
                by_target[target_of(record)].append(record)
        for measure in MEASURES:
            accuracies = {
                target: {record.results.seed: accuracy_of(record, measure) for record in records}
                for target, records in by_target.items()
            }
            rows += [shared | {"measure": measure, "site": ""} | row for row in _by_target(accuracies)]
        for site in _sites(variant.records):
            overlaps = {
                target: {record.results.seed: _iou(record, site) for record in records}
                for target, records in by_target.items()
            }
            rows += [shared | {"measure": IOU, "site": site} | row for row in _by_target(overlaps)]
    return typed(rows, SWEEP)


def sweep_figures(group: Group, sweep: Sweep, frame: pd.DataFrame) -> list[Figure]:
    """Return accuracies and overlap against the swept value, and overlap by site, on an axis that has a place for 0."""
    name = sweep.setting.removeprefix(METHOD)
    places, ticks = axis(list(sweep.values))
    label = _SYMBOLS.get(name, name)
    panels = []
    for measure in (OUT_OF_DOMAIN, IN_DOMAIN, KNOWN):
        chosen = frame[(frame["measure"] == measure) & frame["mean"].notna()]
        if not chosen.empty:
            series = _series(chosen, "held_out", [*group.main_targets, OVERALL], places, 100.0)
            panels.append(Panel(MEASURES[measure].capitalize(), label, "accuracy, %", series, ticks=ticks))
    overlap = frame[(frame["measure"] == IOU) & frame["mean"].notna()]
    if not overlap.empty:
        mean_of_sites = overlap[overlap["site"] == "mean"]
        series = _series(mean_of_sites, "held_out", [*group.main_targets, OVERALL], places, 1.0)
        panels.append(Panel("IoU of the masks, mean over sites", label, "IoU", series, ticks=ticks))
    others = f" Other settings: {sweep.others}." if sweep.others else ""
    caption = (
        f"{sweep.method}: {name} from {min(sweep.values):g} to {max(sweep.values):g}, one line per held-out "
        f"domain, the thick one is "
        f"their mean; shaded: ± one standard deviation over seeds, where there are several.{others}{_PAPERS.get(name, '')}"
    )
    stem = f"{group.name}-sweep-{as_file_name(name)}-{sweep.method}" + (
        f"-{as_file_name(sweep.others)}" if sweep.others else ""
    )
    figures = [Figure(stem, f"Sweep of {label}", caption, panels)]
    by_site = overlap[overlap["site"] != "mean"]
    sites = list(dict.fromkeys(by_site["site"]))
    if len(sites) > 1:
        panels = []
        for target in [*group.main_targets, OVERALL]:
            series = _series(by_site[by_site["held_out"] == target], "site", sites, places, 1.0)
            if any(len(one.x) > 1 for one in series):
                title = "Mean over held-out domains" if target == OVERALL else f"{target or 'nothing'} held out"
                panels.append(Panel(title, label, "IoU", series, ticks=ticks, limits=(0, 1)))
        caption = f"{sweep.method}: overlap of the masks at each site.{others}{_PAPERS.get(name, '')}"
        figures.append(Figure(f"{stem}-by-site", f"Overlap by site against {label}", caption, panels))
    return figures


def axis(values: Sequence[float]) -> tuple[dict[float, float], list[tuple[float, str]]]:
    """Return value -> position, and the ticks: logarithmic, 0 a step left of the smallest value.

    Where a value is negative, or fewer than two are positive, positions are the values themselves.
    """
    positive = sorted(value for value in values if value > 0)
    if not positive or min(values) < 0 or len(positive) < 2:
        return {value: value for value in values}, [(value, short(value)) for value in values]
    places = {value: math.log10(value) for value in positive}
    if 0.0 in values:
        places[0.0] = places[positive[0]] - max(1.0, (places[positive[-1]] - places[positive[0]]) / 6)
    return places, [(places[value], short(value)) for value in sorted(values)]


def short(value: float) -> str:
    """Return a number in as few letters as there can be, so that many fit under an axis: 0.0001 is "1e-4"."""
    digits, power = f"{value:.5e}".split("e")
    return min(f"{value:g}", f"{float(digits):g}e{int(power)}", key=len)


def _series(
    frame: pd.DataFrame, column: str, names: Sequence[str], places: Mapping[float, float], scale: float
) -> list[Series]:
    found = []
    for number, name in enumerate(names):
        rows = frame[frame[column] == name].sort_values("value")
        if rows.empty:
            continue
        values = rows_of(rows)
        found.append(
            Series(
                "mean" if name == OVERALL else (name or "(none held out)"),
                [places[row["value"]] for row in values],
                [scale * row["mean"] for row in values],
                7 if name == OVERALL else number + number // 7,
                [None if is_missing(row["deviation"]) else scale * row["deviation"] for row in values],
                is_mean=name == OVERALL,
            )
        )
    return found


def _by_target(values: Mapping[str, Mapping[int, float | None]]) -> list[dict[str, Any]]:
    """Return a row per held-out domain, and one for their mean per seed, of seeds that have them all."""
    rows = [{"held_out": target, **_statistics(list(by_seed.values()))} for target, by_seed in values.items()]
    seeds = set.intersection(*(set(by_seed) for by_seed in values.values())) if values else set()
    whole = []
    for seed in sorted(seeds):
        mine = [by_seed[seed] for by_seed in values.values()]
        known = [value for value in mine if value is not None]
        whole.append(sum(known) / len(known) if len(known) == len(mine) else None)
    return [*rows, {"held_out": OVERALL, **_statistics(whole)}]


def _statistics(values: Sequence[float | None]) -> dict[str, Any]:
    known = [value for value in values if value is not None]
    if not known:
        return {"runs": 0}
    mean, deviation = mean_and_standard_deviation(known)
    return {"runs": len(known), "mean": mean, "deviation": deviation}


def _sites(records: Sequence[RunRecord]) -> list[str]:
    names = dict.fromkeys(name for record in records for name in record.results.masks or {})
    return [*names, "mean"] if names else []


def _iou(record: RunRecord, site: str) -> float | None:
    masks = record.results.masks or {}
    if site != "mean":
        return masks[site].overall_iou if site in masks else None
    values = [entry.overall_iou for entry in masks.values() if entry.overall_iou is not None]
    return sum(values) / len(values) if values else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
