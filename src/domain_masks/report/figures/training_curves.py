"""Training curves: loss, validation accuracy, overlap and kinds of units over the epochs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from domain_masks.records.analysis import SiteEpoch
from domain_masks.records.metrics_log import EPOCH
from domain_masks.report.figures.mask_plots import KIND_COLOURS
from domain_masks.report.figures.plots import Panel, Plot, Series

NOTE = (
    "Mean over held-out domains and seeds, at the epochs that all of these runs have: a curve ends where the first run stops. "
    "Shaded: ± one standard deviation over these runs."
)
_METRICS = {
    "loss": ("Training loss", "loss", 1.0),
    "validation_accuracy": ("Validation accuracy", "accuracy, %", 100.0),
}
_SITE_COLOURS = 4
"""Index of the first colour for sites; the kinds of units use the ones before."""


def training_plot(
    name: str, runs: Mapping[str, Iterable[Sequence[Mapping[str, Any]]]], oracle: bool = False
) -> Plot | None:
    """Return loss and validation accuracy; None without rows. ``runs``: label -> rows of ``metrics.csv`` of every run."""
    panels = []
    for metric, (title, label, scale) in _METRICS.items():
        series = [
            _curve(run_label, ([(row[EPOCH], row.get(metric)) for row in rows] for rows in metrics), index, scale)
            for index, (run_label, metrics) in enumerate(runs.items())
        ]
        if shown := [curve for curve in series if curve.x]:
            panels.append(Panel(title, "epoch", label, shown))
    return Plot(name, "Training curves", NOTE, panels, oracle) if panels else None


def masks_by_epoch_plot(
    name: str, title: str, runs: Sequence[Sequence[SiteEpoch]], oracle: bool = False, caption: str = NOTE
) -> Plot | None:
    """Return overlap by site and kinds of units at each site over the epochs; None without epochs."""
    sites = list(dict.fromkeys(row.site for run in runs for row in run))

    def curve(label: str, site: str, quantity: str, colour: int) -> Series:
        by_run = ([(row.epoch, getattr(row, quantity)) for row in run if row.site == site] for run in runs)
        return _curve(label, by_run, colour)

    overlap = [curve(site, site, "overall_iou", _SITE_COLOURS + place) for place, site in enumerate(sites)]
    panels = [Panel("Overlap", "epoch", "IoU", shown)] if (shown := [line for line in overlap if line.x]) else []
    for site in sites:
        kinds = [curve(kind, site, kind, colour) for kind, colour in KIND_COLOURS.items()]
        panels.append(Panel(site, "epoch", "fraction of units", kinds, limits=(0, 1)))
    return Plot(name, title, caption, panels, oracle) if panels else None


def _curve(label: str, runs: Iterable[Iterable[tuple[Any, Any]]], colour: int, scale: float = 1.0) -> Series:
    """Return the mean over runs at each epoch that all of them have, and their deviation if there are several.

    A mean over different runs from epoch to epoch would jump where one stops. ``runs``: the epochs and values of each; values
    that are no finite number, and runs without any other, are left out.
    """
    by_run = [
        {
            int(epoch): scale * float(value)
            for epoch, value in run
            if isinstance(value, int | float) and math.isfinite(value)
        }
        for run in runs
    ]
    known = [values for values in by_run if values]
    epochs = sorted(set.intersection(*map(set, known))) if known else []
    columns = [[values[epoch] for values in known] for epoch in epochs]
    means = [sum(column) / len(column) for column in columns]
    spread = [float(pd.Series(column).std()) if len(column) > 1 else None for column in columns]
    return Series(label, [float(epoch) for epoch in epochs], means, colour, spread)
