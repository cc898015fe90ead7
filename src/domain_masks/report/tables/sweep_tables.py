"""Sweeps of a setting: runs that differ only in one number, with their accuracies and overlap of masks."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from domain_masks.evaluation import mean_and_standard_deviation
from domain_masks.evaluation.variants import METHOD, Variant
from domain_masks.records.collection import RunRecord
from domain_masks.records.results import MEASURE_TITLES, OVERALL
from domain_masks.report.runs.accuracies import accuracy_of
from domain_masks.report.runs.groups import Group
from domain_masks.report.runs.held_out import target_of
from domain_masks.report.tables.table import Cell, Column, Table, number, percent, rows_of, text_cell, typed

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


@dataclass(frozen=True, eq=False)
class Sweep:
    """Variants of one method that differ only in one number.

    - ``setting``: the name of the swept setting
    - ``rest``: the other settings of these variants that differ between the method's variants, name -> value
    - ``values``: value -> variant, sorted
    """

    method: str
    setting: str
    rest: Mapping[str, Any]
    values: Mapping[float, Variant]

    @property
    def others(self) -> str:
        """The other settings as text."""
        return ", ".join(f"{name.removeprefix(METHOD)} {value}" for name, value in self.rest.items())


def sweeps_of(group: Group) -> list[Sweep]:
    """Return every series of at least two values of one numeric setting with all other settings equal."""
    sweeps = []
    for method in dict.fromkeys(variant.method for variant in group.variants):
        of_method = [variant for variant in group.variants if variant.method == method]
        names = dict.fromkeys(
            name for variant in of_method for name, value in variant.settings.items() if _is_number(value)
        )
        for name in names:
            series: dict[str, dict[float, Variant]] = {}
            for variant in of_method:
                if _is_number(variant.settings.get(name)):
                    rest = {key: value for key, value in variant.settings.items() if key != name}
                    key = json.dumps(rest, sort_keys=True, default=str)
                    series.setdefault(key, {})[float(variant.settings[name])] = variant
            for rest_key, values in series.items():
                if len(values) > 1:
                    sweeps.append(Sweep(method, name, json.loads(rest_key), dict(sorted(values.items()))))
    return sweeps


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
        for measure in MEASURE_TITLES:
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


def sweep_table(group: Group, frames: Sequence[pd.DataFrame]) -> Table:
    """Return the numbers of the figures of all sweeps, over all held-out domains."""
    frame = pd.concat(list(frames), ignore_index=True)
    chosen = frame[(frame["held_out"] == "overall") & frame["mean"].notna() & frame["site"].isin(["", "mean"])]
    rows = [
        [
            text_cell(row["method"]),
            text_cell(row["setting"], row["others"]),
            number(row["value"], "g"),
            text_cell(
                "IoU, mean over sites" if row["measure"] == "overall_iou" else f"{MEASURE_TITLES[row['measure']]}, %"
            ),
            number(row["mean"], ".3f") if row["measure"] == "overall_iou" else percent(row["mean"]),
            Cell(str(row["runs"]), row["runs"]),
        ]
        for row in rows_of(chosen)
    ]
    columns = [Column("method", is_number=False), Column("setting", is_number=False), Column("value")]
    columns += [Column("measure", is_number=False), Column("overall"), Column("seeds")]
    note = "The numbers of the figures, over all held-out domains; the CSV has each domain and mask site."
    return Table(f"{group.name}-sweeps", "Swept values", columns, rows, frame, [note], folded=True)


def _by_target(values: Mapping[str, Mapping[int, float | None]]) -> list[dict[str, Any]]:
    """Return a row per held-out domain, and one for their mean, over the seeds with all of them."""
    rows = [{"held_out": target, **_statistics(list(by_seed.values()))} for target, by_seed in values.items()]
    seeds = set.intersection(*(set(by_seed) for by_seed in values.values())) if values else set()
    means = []
    for seed in sorted(seeds):
        of_seed = [by_seed[seed] for by_seed in values.values()]
        known = [value for value in of_seed if value is not None]
        means.append(sum(known) / len(known) if len(known) == len(of_seed) else None)
    return [*rows, {"held_out": OVERALL, **_statistics(means)}]


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
