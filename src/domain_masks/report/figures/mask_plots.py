"""What the masks became (Figure 4), neurons by kind, and the course of training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import pandas as pd

from domain_masks.errors import DomainMasksError
from domain_masks.records.collection import RunRecord
from domain_masks.records.metrics_log import EPOCH, LOSS, VALIDATION_ACCURACY, kind_column, overlap_column
from domain_masks.records.pairs import pair_key, pair_of, pair_title
from domain_masks.records.results import NEURON_KINDS
from domain_masks.report.figures.plots import Figure, Panel, Series
from domain_masks.report.runs.groups import Group, Line, target_of
from domain_masks.report.runs.naming import file_name
from domain_masks.report.tables.table import typed

_MEAN = 7
_KIND_COLOURS = {"off": 7, "shared": 0, "specific": 1}
MASKS = {
    "group": "str",
    "method": "str",
    "line": "str",
    "held_out": "str",
    "seed": "Int64",
    "site": "str",
    "quantity": "str",
    "name": "str",
    "value": "Float64",
}
"""Columns of :func:`mask_frame`; ``value`` is a fraction.

``quantity`` is overall_iou, pairwise_iou, activated, average_activated or kinds. Two empty masks have IoU 1, as in the
authors' code: very sparse masks overlap (Figure 6c).
"""


def mask_frame(group: Group) -> pd.DataFrame:
    """Return overlap, activated fractions and kinds of neurons of the hard masks, a row per run, site and name."""
    rows: list[dict[str, Any]] = []
    for line in group.lines:
        for record in line.records:
            shared = {
                "group": group.name,
                "method": line.method,
                "line": line.label,
                "held_out": target_of(record),
                "seed": record.results.seed,
            }
            for site, masks in (record.results.masks or {}).items():
                here = shared | {"site": site}
                if masks.overall_iou is not None:
                    rows.append(here | {"quantity": "overall_iou", "name": "overall", "value": masks.overall_iou})
                if masks.average_activated is not None:
                    average = masks.average_activated
                    rows.append(here | {"quantity": "average_activated", "name": "average", "value": average})
                named: Mapping[str, Mapping[str, float]] = {
                    "pairwise_iou": {
                        _in_order(pair, record.results.sources): iou for pair, iou in masks.pairwise_iou.items()
                    },
                    "activated": masks.activated,
                    "kinds": {} if masks.kinds is None else masks.kinds.by_kind(),
                }
                rows += [
                    here | {"quantity": quantity, "name": name, "value": value}
                    for quantity, values in named.items()
                    for name, value in values.items()
                ]
    return typed(rows, MASKS)


def mask_figures(group: Group, frame: pd.DataFrame) -> list[Figure]:
    """Return Figure 4 (overlap, activated neurons) and the kinds of neurons for every line that has masks."""
    found = []
    for label in dict.fromkeys(frame["line"]):
        mine = frame[frame["line"] == label]
        name = file_name(label)
        line = next(line for line in group.lines if line.label == label)
        sites = list(dict.fromkeys(mine["site"]))
        targets = [target for target in group.main_targets if (mine["held_out"] == target).any()]
        ticks = [(float(place), site) for place, site in enumerate(sites)]
        overlap, active = [], []
        pairs = _colours(mine, "pairwise_iou")
        sources = _colours(mine, "activated")
        for target in targets:
            here = mine[mine["held_out"] == target]
            title = f"{target or 'nothing'} held out"
            bars = _bars(here, "pairwise_iou", sites, pairs)
            overlap.append(Panel(title, "", "IoU", bars, "bars", ticks, (0, 1)))
            bars = _bars(here, "activated", sites, sources)
            active.append(Panel(title, "", "fraction of neurons", bars, "bars", ticks, (0, 1)))
        about = f"Hard masks (m > 0.5) of {line.title}, mean over seeds."
        found.append(
            Figure(
                f"{group.name}-iou-{name}",
                f"Overlap of the masks: {line.title}",
                f"{about} Pairs of source domains, and their mean; the paper's Figure 4.",
                overlap,
                line.oracle,
            )
        )
        found.append(
            Figure(
                f"{group.name}-activated-{name}",
                f"Activated neurons: {line.title}",
                f"{about} The part of each source's neurons that is on, and its average; the paper's Figure 4.",
                active,
                line.oracle,
            )
        )
        if (mine["quantity"] == "kinds").any():
            found.append(_kinds(group, mine, line, sites, targets))
    return found


def course_figures(group: Group) -> list[Figure]:
    """Return loss, validation accuracy, overlap and kinds of neurons over the epochs, mean over held-out domains and seeds."""
    courses = {line.title: [_metrics(record) for record in line.records] for line in group.lines}
    titles = {LOSS: "Training loss", VALIDATION_ACCURACY: "Accuracy on validation images"}
    panels = []
    for metric, title in titles.items():
        series = [
            _course(label, rows, metric, number, 100.0 if metric != LOSS else 1.0)
            for number, (label, rows) in enumerate(courses.items())
        ]
        shown = [one for one in series if one.x]
        if shown:
            panels.append(Panel(title, "epoch", "loss" if metric == LOSS else "accuracy, %", shown))
    found = []
    note = "Mean over held-out domains and seeds; shaded: ± one standard deviation over these runs."
    if panels:
        is_oracle = any(line.oracle for line in group.lines)
        found.append(Figure(f"{group.name}-training", "Course of training", note, panels, is_oracle))
    for line in group.lines:
        found += _mask_course(group, line, courses[line.title], note)
    return found


def _mask_course(group: Group, line: Line, courses: Sequence[Sequence[Mapping[str, Any]]], note: str) -> list[Figure]:
    sites = list(dict.fromkeys(site for record in line.records for site in record.results.masks or {}))
    if not sites:
        return []
    overlap = [_course(site, courses, overlap_column(site), 4 + number, 1.0) for number, site in enumerate(sites)]
    panels = [Panel("Overlap", "epoch", "IoU", shown)] if (shown := [one for one in overlap if one.x]) else []
    for site in sites:
        series = [_course(kind, courses, kind_column(site, kind), _KIND_COLOURS[kind], 1.0) for kind in NEURON_KINDS]
        if shown := [one for one in series if one.x]:
            panels.append(Panel(site, "epoch", "fraction of neurons", shown, limits=(0, 1)))
    name = f"{group.name}-masks-by-epoch-{file_name(line.label)}"
    return [Figure(name, f"Masks over the epochs: {line.title}", note, panels, line.oracle)] if panels else []


def _kinds(group: Group, frame: pd.DataFrame, line: Line, sites: Sequence[str], targets: Sequence[str]) -> Figure:
    panels = []
    ticks = [(float(place), target or "–") for place, target in enumerate(targets)]
    for site in sites:
        series = []
        for kind in NEURON_KINDS:
            rows = frame[(frame["quantity"] == "kinds") & (frame["site"] == site) & (frame["name"] == kind)]
            means = rows.groupby("held_out")["value"].mean().to_dict()
            y = [means.get(target) for target in targets]
            series.append(Series(kind, [float(place) for place in range(len(targets))], y, _KIND_COLOURS[kind]))
        panels.append(Panel(site, "held-out domain", "fraction of neurons", series, "stacked", ticks, (0, 1)))
    caption = (
        "Neurons that are off in the masks of all sources, shared (on) by all, and specific to some: hard "
        "masks, mean over seeds."
    )
    name = f"{group.name}-kinds-{file_name(line.label)}"
    return Figure(name, f"Neurons by kind: {line.title}", caption, panels, line.oracle)


_MEANS = {"pairwise_iou": ("overall_iou", "mean of pairs"), "activated": ("average_activated", "average of sources")}


def _bars(frame: pd.DataFrame, quantity: str, sites: Sequence[str], colours: Mapping[str, int]) -> list[Series]:
    """Return a series of bars per name and one of their mean, sites along the axis; a name has one colour in all panels."""
    found = []
    places = [float(place) for place in range(len(sites))]
    mean, title = _MEANS[quantity]
    for which in (quantity, mean):
        rows = frame[frame["quantity"] == which]
        means = rows.groupby(["name", "site"])["value"].mean().to_dict()
        for name in sorted(dict.fromkeys(rows["name"])):
            values = [means.get((name, site)) for site in sites]
            label, colour = (
                (title, _MEAN)
                if which == mean
                else (pair_title(name) if which == "pairwise_iou" else name, colours[name])
            )
            found.append(Series(label, places, values, colour, is_mean=which == mean))
    return found


def _colours(frame: pd.DataFrame, quantity: str) -> dict[str, int]:
    """Return name -> its place in the palette, the same in all panels; the mean's place is left free."""
    names = sorted(dict.fromkeys(frame[frame["quantity"] == quantity]["name"]))
    return {name: number + number // _MEAN for number, name in enumerate(names)}


def _in_order(pair: str, sources: Sequence[str]) -> str:
    """Return a pair of domains in one order, whatever the order of the masks' rows was."""
    return pair_key(*sorted(pair_of(pair, sources)))


def _metrics(record: RunRecord) -> list[dict[str, Any]]:
    with suppress(DomainMasksError):
        return [dict(row) for row in record.metrics()]
    return []


def _course(
    label: str, courses: Sequence[Sequence[Mapping[str, Any]]], metric: str, colour: int, scale: float
) -> Series:
    by_epoch: dict[int, list[float]] = {}
    for rows in courses:
        for row in rows:
            value = row.get(metric)
            if isinstance(value, int | float) and math.isfinite(value):
                by_epoch.setdefault(int(row[EPOCH]), []).append(scale * float(value))
    epochs = sorted(by_epoch)
    means = [sum(by_epoch[epoch]) / len(by_epoch[epoch]) for epoch in epochs]
    spread = [float(pd.Series(by_epoch[epoch]).std()) if len(by_epoch[epoch]) > 1 else None for epoch in epochs]
    return Series(label, [float(epoch) for epoch in epochs], means, colour, spread)
