"""Drawings of what is predicted under the masks: each takes numbers of an analysis and gives a figure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from domain_masks.analysis.style import (
    COLOURS,
    INK,
    MUTED,
    SHADES,
    figure,
    headline,
    legend,
    styled,
    title,
    wrapped,
)
from domain_masks.records.analysis import Calibration, Confusion, NearestSource
from domain_masks.records.names import shortened
from domain_masks.records.predictions import KNOWN_DOMAIN

ROW_NAMES = {"predictions": "prediction ensemble", "masks": "mask ensemble", "weighted": "weighted ensemble"}


@styled
def mask_by_domain_figure(table: Mapping[str, Mapping[str, float]], splits: Mapping[str, str]) -> Figure:
    """Draw every mask on every domain (Table 4) as a heat map, a source's own cell outlined."""
    domains = list(splits)
    rows = list(table)
    values = np.array([[100 * table[row][domain] for domain in domains] for row in rows])
    drawn, (axes,) = figure(2.4 + 0.95 * len(domains), 1.1 + 0.42 * len(rows))
    low, high = float(values.min()), float(values.max())
    axes.imshow(values, cmap=SHADES, vmin=low - 0.1 * (high - low + 1), vmax=high, aspect="auto")
    middle = (low + high) / 2
    for i, row in enumerate(rows):
        for j, domain in enumerate(domains):
            own = row == KNOWN_DOMAIN + domain
            axes.text(
                j,
                i,
                f"{values[i, j]:.1f}",
                ha="center",
                va="center",
                fontsize=9,
                color="white" if values[i, j] > middle else INK,
                fontweight="bold" if own else "normal",
            )
            if own:
                for colour, width in (("white", 4.0), (INK, 2.0)):  # seen on light and on dark cells
                    box = Rectangle((j - 0.46, i - 0.44), 0.92, 0.88, fill=False, edgecolor=colour, linewidth=width)
                    axes.add_patch(box)
    names = [f"{wrapped(shortened(domain), 12)}\n({splits[domain].replace('_', ' ')})" for domain in domains]
    axes.set_xticks(range(len(domains)), names)
    axes.set_yticks(range(len(rows)), [_row_name(row) for row in rows])
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    headline(drawn, "Accuracy in % of each source's mask, and of their ensembles")
    return drawn


def _row_name(row: str) -> str:
    return ROW_NAMES.get(row, f"only {shortened(row.removeprefix(KNOWN_DOMAIN))}")


@styled
def nearest_figure(nearest: NearestSource) -> Figure:
    """Draw which source the images of each domain are nearest to, as shares, and how often that is right on the sources."""
    domains = list(nearest.domains)
    sources = list(next(iter(nearest.domains.values())))
    drawn, (axes,) = figure(6.4, 0.9 + 0.42 * len(domains))
    left = np.zeros(len(domains))
    bars = []
    hatches = ("", "////", "....", "\\\\\\\\", "xxxx", "++++", "oooo")
    for index, source in enumerate(sources):
        shares = np.array([nearest.domains[domain][source] for domain in domains])
        drawn_as = axes.barh(
            range(len(domains)),
            shares,
            left=left,
            height=0.7,
            color=COLOURS[index % len(COLOURS)],
            alpha=0.55,
            hatch=hatches[index % len(hatches)],
            edgecolor="white",
        )
        bars.append(drawn_as)
        for place, (start, share) in enumerate(zip(left, shares, strict=True)):
            if share >= 0.07:
                box = {"facecolor": "white", "edgecolor": "none", "pad": 1.2, "alpha": 0.85}
                axes.text(
                    start + share / 2, place, f"{100 * share:.0f} %", ha="center", va="center", fontsize=8, bbox=box
                )
        left += shares
    axes.set_yticks(range(len(domains)), [f"{shortened(name)} ({nearest.images[name]})" for name in domains])
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    legend(drawn, bars, sources, title="nearest to", title_fontsize=8)
    right = nearest.right
    headline(
        drawn,
        f"Nearest source, by the {right.by}: right on {100 * right.accuracy:.1f} % of the sources' own "
        f"{right.split} images. In brackets: how many images",
        beside=1.8,
    )
    return drawn


@styled
def reliability_figure(calibration: Mapping[str, Calibration]) -> Figure:
    """Draw confidence against accuracy, domain by domain, and below how many images there are at each confidence."""
    count = len(calibration)
    drawn, axes = figure(
        2.3 * count + 0.6, 3.2, 2, count, sharex=True, sharey="row", gridspec_kw={"height_ratios": [3, 1]}
    )
    for index, (domain, one) in enumerate(calibration.items()):
        above, below = axes[index], axes[count + index]
        bins = one.bins
        edges = np.array(bins.edges)
        filled = [place for place, value in enumerate(bins.accuracy) if value is not None]
        heights = [bins.accuracy[place] or 0.0 for place in filled]
        widths = np.diff(edges)[filled]
        above.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, linestyle=(0, (4, 2)))
        above.bar(edges[:-1][filled], heights, widths, align="edge", color=COLOURS[0], alpha=0.35, edgecolor="white")
        above.plot(
            [bins.confidence[place] or 0.0 for place in filled],
            heights,
            color=INK,
            marker="o",
            markersize=3,
            linewidth=1,
        )
        shares = np.array(bins.counts) / max(1, one.images)
        below.bar(edges[:-1], shares, np.diff(edges), align="edge", color="#9aa5b1", edgecolor="white", linewidth=0.4)
        above.set_xlim(0, 1)
        above.set_ylim(0, 1)
        below.set_xlabel("confidence", fontsize=8, color=INK)
        title(above, f"{shortened(domain)}\nECE {100 * one.ece:.1f} %, n = {one.images:,}", count)
    axes[0].set_ylabel("accuracy", fontsize=8, color=INK)
    axes[count].set_ylabel("share", fontsize=8, color=INK)
    return drawn


@styled
def confusion_figure(confusion: Confusion, domain: str) -> Figure:
    """Draw which classes are taken for which on one domain, in % of each class's images; numbers count images."""
    counts = np.array(confusion.counts)
    names = confusion.classes
    totals = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(totals, 1)
    side = max(2.6, 0.42 * len(names))
    drawn, (axes,) = figure(side + 1.6, side + 1.0)
    axes.imshow(shares, cmap=SHADES, vmin=0, vmax=1)
    size = 8 if len(names) <= 20 else 4.5
    for i, j in zip(*np.nonzero(counts), strict=True):
        axes.text(
            j,
            i,
            str(counts[i, j]),
            ha="center",
            va="center",
            fontsize=size,
            color="white" if shares[i, j] > 0.5 else INK,
        )
    small: dict[str, Any] = {"fontsize": 8 if len(names) <= 20 else 6}
    short = [shortened(name) for name in names]
    axes.set_xticks(range(len(names)), short, rotation=45, ha="right", rotation_mode="anchor", **small)
    counted = [f"{name} ({total or 'none'})" for name, total in zip(short, totals[:, 0].tolist(), strict=True)]
    axes.set_yticks(range(len(names)), counted, **small)
    axes.set_xlabel("predicted", fontsize=8, color=INK)
    axes.set_ylabel("label (images)", fontsize=8, color=INK)
    axes.tick_params(length=0)
    shown = "" if confusion.of == len(names) else f", {len(names)} classes with the most errors of {confusion.of}"
    headline(drawn, f"Images of {domain} by label and prediction{shown}")
    return drawn
