"""Draw the figures of docs/results/ that show runs in the CSV files beside this script: ``python results/figures.py``.

Each file has the numbers that it shows as its description, so that a figure that is out of date is noticed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from html import escape

import pandas as pd
from tables import PAGES, decimals, labelled, masks_of, paired_differences, read, student_half_width

from domain_masks.report.figures.palette import MEAN
from domain_masks.report.figures.plots import Panel, Plot, Series
from domain_masks.report.figures.svg import plot_svg

LABELS = {
    "art_painting": "art painting",
    "aggregate, batch_norm fixed": "aggregate, fixed BN",
    "dmg, batch_norm fixed": "dmg, fixed BN",
    "dmg, lr_masks 0.01": "dmg, masks 1e-2",
}
"""A held-out domain or a setting -> its name in a figure, if another one."""


def method_differences(name: str) -> Plot:
    """Return the settings of a file: accuracy minus Aggregate's by held-out domain, and the mean with Student's 95 % interval.

    Settings with runs of all held-out domains, by their mean out of domain.
    """
    runs = labelled(read(name))
    domains = sorted(runs["held_out"].unique())
    measures = {"out_of_domain": "Out of domain, minus Aggregate", "in_domain": "In domain, minus Aggregate"}
    whole: dict[tuple[str, str], pd.DataFrame] = {}
    for setting in runs["setting"].unique():
        for measure in measures:
            table = 100 * paired_differences(runs, setting, measure).reindex(columns=domains)
            if setting != "aggregate" and len(table.dropna()):
                whole[setting, measure] = table
    shown = sorted(
        {setting for setting, _ in whole},
        key=lambda setting: float(whole[setting, "out_of_domain"].dropna().to_numpy().mean()),
    )
    ticks = [(place, LABELS.get(setting, setting)) for place, setting in enumerate(shown)]
    panels = []
    for measure, title in measures.items():
        tables = [whole[setting, measure] for setting in shown]
        series = [
            Series(
                LABELS.get(domain, domain),
                [place + 0.1 * (number - 2) for place in range(len(shown))],
                [float(table[domain].mean()) for table in tables],
                number,
                kind="points",
            )
            for number, domain in enumerate(domains)
        ]
        pairs = [table.dropna().to_numpy().ravel().tolist() for table in tables]
        means, halves = (
            [sum(values) / len(values) for values in pairs],
            [student_half_width(values) for values in pairs],
        )
        places = [place + 0.3 for place in range(len(shown))]
        series.append(Series("mean, 95 % interval", places, means, MEAN, halves, is_mean=True, kind="points"))
        panels.append(Panel(title, "", "points", series, ticks))
    return Plot(f"{name}-differences", "Accuracy minus that of Aggregate", "", panels)


def overlap_and_accuracy(name: str, sites: tuple[str, ...]) -> Plot:
    """Return a point per setting of a file: IoU of the hard masks, mean over ``sites``, against what the masks bring."""
    masks = masks_of(labelled(read(name)))
    masks["overlap"] = masks[[f"iou/{site}" for site in sites]].mean(axis=1)
    weights = masks.index.to_series().str.extract(r"overlap_weight ([\d.e-]+)")[0].fillna("0.1").astype(float)
    measures = {
        "out_of_domain": ("Accuracy out of domain", "accuracy, %"),
        "gain": ("Own mask minus ensemble, in domain", "points"),
    }
    panels = []
    for measure, (title, label) in measures.items():
        series = [
            Series(
                f"λ_O = {weight:g}",
                masks.loc[weights == weight, "overlap"].tolist(),
                (100 * masks.loc[weights == weight, measure]).tolist(),
                number,
                kind="points",
            )
            for number, weight in enumerate(sorted(weights.unique()))
        ]
        panels.append(Panel(title, "IoU of the hard masks, mean over sites", label, series, x_limits=(-0.05, 1.05)))
    return Plot(f"{name}-overlap", "What masks bring, by their overlap", "", panels)


FIGURES: tuple[Callable[[], Plot], ...] = (
    lambda: method_differences("pacs-112px-end-to-end"),
    lambda: overlap_and_accuracy("pacs-112px-masks-grid", ("features.17", "classifier.1")),
)


def description(plot: Plot) -> str:
    """Return the numbers of a figure as text: panel, series and points (x, y, and what lies on either side)."""
    lines = []
    for panel in plot.panels:
        names = dict(panel.ticks)
        for series in panel.series:
            spreads = series.spread or [None] * len(series.x)
            points = [
                f"{names.get(round(x), f'{x:.3f}') if names else f'{x:.3f}'} {decimals(y)}"
                + ("" if spread is None else f" ± {decimals(spread)}")
                for x, y, spread in zip(series.x, series.y, spreads, strict=True)
            ]
            lines.append(f"{panel.title}, {series.label}: {'; '.join(points)}")
    return "\n".join(lines)


def drawn(plot: Plot) -> str:
    """Return the SVG file of a figure, with its numbers as description."""
    before, after = plot_svg(plot).split(">", 1)
    return f"{before}><desc>{escape(description(plot))}</desc>{after}"


def main() -> int:
    """Write every figure."""
    for figure in FIGURES:
        plot = figure()
        (PAGES / f"{plot.name}.svg").write_text(drawn(plot), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
