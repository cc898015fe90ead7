"""Drawings of the masks themselves: each takes numbers of an analysis and gives a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from domain_masks.analysis.style import (
    COLOURS,
    GRID,
    INK,
    KIND_COLOURS,
    KIND_HATCHES,
    MUTED,
    figure,
    label_ends,
    legend,
    line_style,
    styled,
    title,
)
from domain_masks.records.analysis import Ablation, SiteAnalysis, SiteEpoch
from domain_masks.records.names import shortened
from domain_masks.records.pairs import pair_title


@styled
def overlap_figure(sites: Mapping[str, SiteAnalysis]) -> Figure:
    """Draw the IoU of every pair of masks, and the fraction that each mask activates and all on average (Figure 4)."""
    count = max(max(len(site.pairwise_iou), len(site.activated)) + 1 for site in sites.values())
    drawn, axes = figure(7.2, 0.3 + len(sites) * (0.6 + 0.24 * count), len(sites), 2)
    for index, (name, site) in enumerate(sites.items()):
        left, right = axes[2 * index], axes[2 * index + 1]
        pairs = {pair_title(pair, site.activated): value for pair, value in site.pairwise_iou.items()}
        if site.overall_iou is not None:
            pairs["all pairs"] = site.overall_iou
        _bars(left, pairs, COLOURS[0], bold="all pairs")
        activated = dict(site.activated)
        if site.average_activated is not None and len(activated) > 1:
            activated["all masks"] = site.average_activated
        _bars(right, activated, "#9aa5b1", bold="all masks")
        title(left, f"{name}: IoU of hard masks", 2)
        title(right, f"activated fraction of {site.neurons} neurons", 2)
    return drawn


def _bars(axes: Axes, values: Mapping[str, float], colour: str, bold: str = "") -> None:
    places = np.arange(len(values))
    numbers = list(values.values())
    axes.barh(places, numbers, color=colour, height=0.62)
    for place, (name, value) in zip(places, values.items(), strict=True):
        weight = "bold" if name == bold else "normal"
        axes.text(
            min(value, 1.0) + 0.015, float(place), f"{value:.3f}", va="center", fontsize=8, color=INK, fontweight=weight
        )
    axes.set_yticks(places, [shortened(name) for name in values])
    axes.invert_yaxis()
    axes.set_xlim(0, 1.18)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1.0])


@styled
def kinds_figure(epochs: Sequence[SiteEpoch]) -> Figure:
    """Draw the fractions of neurons that are off, shared and specific over the epochs, stacked, site by site."""
    sites = list(dict.fromkeys(row.site for row in epochs))
    drawn, axes = figure(3.6 * len(sites) + 0.8, 2.7, 1, len(sites), sharey=True)
    for place, site in zip(axes, sites, strict=True):
        rows = [row for row in epochs if row.site == site]
        numbers = [row.epoch for row in rows]
        bottom = np.zeros(len(rows))
        ends = []
        for kind in ("shared", "specific", "off"):
            values = np.array([row.by_kind()[kind] for row in rows])
            place.bar(
                numbers,
                values,
                bottom=bottom,
                width=1.0,
                color=KIND_COLOURS[kind],
                hatch=KIND_HATCHES[kind],
                edgecolor="white" if len(rows) <= 60 else KIND_COLOURS[kind],
                linewidth=0.4,
            )
            ends.append((numbers[-1] + 0.5, bottom[-1] + values[-1] / 2, f"{kind} {100 * values[-1]:.1f} %", INK))
            bottom += values
        place.set_xlim(numbers[0] - 0.5, numbers[-1] + 0.5)
        place.set_ylim(0, 1)
        place.set_xlabel("epoch", fontsize=8, color=INK)
        place.xaxis.set_major_locator(MaxNLocator(integer=True))
        label_ends(place, ends, gap=0.1)
        title(place, site, len(sites))
    axes[0].set_ylabel("fraction of neurons", fontsize=8, color=INK)
    return drawn


@styled
def probabilities_figure(sites: Mapping[str, SiteAnalysis]) -> Figure:
    """Draw how the mask probabilities of each domain are distributed, site by site; hard masks are 1 right of the line."""
    drawn, axes = figure(3.4 * len(sites) + 1.6, 2.7, 1, len(sites))
    lines: dict[str, Any] = {}
    for place, (name, site) in zip(axes, sites.items(), strict=True):
        edges = np.array(site.probabilities.edges)
        for index, (domain, counts) in enumerate(site.probabilities.counts.items()):
            style = line_style(index)
            shares = np.array(counts) / max(1, sum(counts))
            drawn_as = place.stairs(shares, edges, color=style["color"], linestyle=style["linestyle"], linewidth=1.6)
            lines.setdefault(domain, drawn_as)
        place.axvline(0.5, color=MUTED, linewidth=0.8)
        place.set_xlim(0, 1)
        place.set_ylim(bottom=0)
        place.set_xlabel("mask probability m", fontsize=8, color=INK)
        title(place, f"{name} ({site.neurons} neurons)", len(sites))
    axes[0].set_ylabel("share of neurons", fontsize=8, color=INK)
    legend(drawn, list(lines.values()), list(lines))
    return drawn


@styled
def ablation_figure(ablation: Ablation, domain: str) -> Figure:
    """Draw how the accuracy on one domain falls when neurons are switched off, place by place."""
    start = ablation.rows[0].accuracy[domain]
    rows = ablation.rows[1:]
    places = list(dict.fromkeys(row.site for row in rows))
    top = min(100.0, 125 * max([start, 0.04, *(row.accuracy[domain] for row in rows)]))
    drawn, axes = figure(3.3 * max(1, len(places)) + 1.2, 2.9, 1, max(1, len(places)), sharey=True)
    for place, site in zip(axes, places, strict=False):
        own = [row for row in rows if row.site == site]
        lines = list(dict.fromkeys((row.kind, row.matched) for row in own))
        ends = []
        place.axhline(100 * start, color=GRID, linewidth=1)
        for kind, matched in lines:
            points = [row for row in own if (row.kind, row.matched) == (kind, matched)]
            of = matched or kind
            x = [0.0, *(row.neurons for row in points)]
            y = [100 * start, *(100 * row.accuracy[domain] for row in points)]
            error = [0.0, *(100 * row.deviation.get(domain, 0.0) for row in points)]
            colour = {"shared": KIND_COLOURS["shared"], "specific": "#b36b00"}[of]
            dashes = "-" if matched is None else (0, (1, 1.5))
            mark = {"shared": "o", "specific": "^"}[of]
            place.errorbar(
                x, y, yerr=error, color=colour, linestyle=dashes, marker=mark, markersize=4, linewidth=1.5, elinewidth=0.8,
                markerfacecolor=colour if matched is None else "white",
            )  # fmt: skip
            ends.append((x[-1], y[-1], kind if matched is None else f"random (as {of})", colour))
        place.set_ylim(0, top)
        place.set_xlabel("neurons switched off", fontsize=8, color=INK)
        label_ends(place, ends, gap=0.08)
        title(place, "all sites" if site == "all" else site, len(places))
    axes[0].set_ylabel(f"accuracy in % on\n{shortened(domain)}", fontsize=8, color=INK)
    return drawn
