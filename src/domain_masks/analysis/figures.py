"""Drawings of what the masks learned: each takes numbers of an analysis and gives a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from domain_masks.analysis.style import (
    COLOURS,
    GRID,
    INK,
    KIND_COLOURS,
    KIND_HATCHES,
    MUTED,
    SHADES,
    figure,
    label_ends,
    line_style,
    styled,
    title,
)
from domain_masks.records.analysis import Ablation, Calibration, Confusion, NearestSource, SiteAnalysis, SiteEpoch
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
                axes.add_patch(Rectangle((j - 0.47, i - 0.45), 0.94, 0.9, fill=False, edgecolor=INK, linewidth=2))
    names = [f"{domain}\n({splits[domain].replace('_', ' ')})" for domain in domains]
    axes.set_xticks(range(len(domains)), names)
    axes.set_yticks(range(len(rows)), [_row_name(row) for row in rows])
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    title(axes, "Accuracy in % of each source's mask, and of their ensembles")
    return drawn


def _row_name(row: str) -> str:
    return ROW_NAMES.get(row, f"only {row.removeprefix(KNOWN_DOMAIN)}")


@styled
def overlap_figure(sites: Mapping[str, SiteAnalysis]) -> Figure:
    """Draw the IoU of every pair of masks, and the fraction that each mask activates, site by site (Figure 4)."""
    count = max(len(site["pairwise_iou"]) + len(site["activated"]) for site in sites.values())
    drawn, axes = figure(7.2, 0.7 + len(sites) * (0.55 + 0.2 * count), len(sites), 2)
    for index, (name, site) in enumerate(sites.items()):
        left, right = axes[2 * index], axes[2 * index + 1]
        pairs = {pair.replace("|", " – "): value for pair, value in site["pairwise_iou"].items()}
        if "overall_iou" in site:
            pairs["all pairs"] = site["overall_iou"]
        _bars(left, pairs, COLOURS[0], bold="all pairs")
        _bars(right, site["activated"], "#9aa5b1")
        title(left, f"{name}: IoU of hard masks")
        title(right, f"activated fraction of {site['neurons']} neurons")
    return drawn


def _bars(axes, values: Mapping[str, float], colour: str, bold: str = "") -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    places = np.arange(len(values))
    numbers = list(values.values())
    axes.barh(places, numbers, color=colour, height=0.62)
    for place, (name, value) in zip(places, values.items(), strict=True):
        weight = "bold" if name == bold else "normal"
        axes.text(min(value, 1.0) + 0.015, place, f"{value:.3f}", va="center", fontsize=8, color=INK, fontweight=weight)
    axes.set_yticks(places, list(values))
    axes.invert_yaxis()
    axes.set_xlim(0, 1.18)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1.0])


@styled
def kinds_figure(epochs: Sequence[SiteEpoch]) -> Figure:
    """Draw the fractions of neurons that are off, shared and specific over the epochs, stacked, site by site."""
    sites = list(dict.fromkeys(row["site"] for row in epochs))
    drawn, axes = figure(3.6 * len(sites) + 0.8, 2.7, 1, len(sites), sharey=True)
    for place, site in zip(axes, sites, strict=True):
        rows = [row for row in epochs if row["site"] == site]
        numbers = [row["epoch"] + 1 for row in rows]
        bottom = np.zeros(len(rows))
        ends = []
        for kind in ("shared", "specific", "off"):
            values = np.array([float(row[kind]) for row in rows])
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
        place.xaxis.get_major_locator().set_params(integer=True)
        label_ends(place, ends, gap=0.1)
        title(place, site)
    axes[0].set_ylabel("fraction of neurons", fontsize=8, color=INK)
    return drawn


@styled
def probabilities_figure(sites: Mapping[str, SiteAnalysis]) -> Figure:
    """Draw how the mask probabilities of each domain are distributed, site by site; hard masks are 1 right of the line."""
    drawn, axes = figure(3.4 * len(sites) + 0.9, 2.7, 1, len(sites))
    for place, (name, site) in zip(axes, sites.items(), strict=True):
        edges = np.array(site["probabilities"]["edges"])
        for index, (domain, counts) in enumerate(site["probabilities"]["counts"].items()):
            style = line_style(index)
            shares = np.array(counts) / max(1, sum(counts))
            place.stairs(shares, edges, color=style["color"], linestyle=style["linestyle"], linewidth=1.6, label=domain)
        place.axvline(0.5, color=MUTED, linewidth=0.8)
        place.set_xlim(0, 1)
        place.set_ylim(bottom=0)
        place.set_xlabel("mask probability m", fontsize=8, color=INK)
        title(place, f"{name} ({site['neurons']} neurons)")
    axes[0].set_ylabel("share of neurons", fontsize=8, color=INK)
    drawn.legend(*axes[0].get_legend_handles_labels(), loc="outside right upper", fontsize=8, frameon=False)
    return drawn


@styled
def nearest_figure(nearest: NearestSource) -> Figure:
    """Draw which source's mask is the most confident on the pictures of each domain, as shares."""
    domains = list(nearest["domains"])
    sources = list(next(iter(nearest["domains"].values())))
    drawn, (axes,) = figure(6.4, 0.9 + 0.42 * len(domains))
    left = np.zeros(len(domains))
    hatches = ("", "////", "....", "\\\\\\\\", "xxxx", "++++", "oooo")
    for index, source in enumerate(sources):
        shares = np.array([nearest["domains"][domain][source] for domain in domains])
        axes.barh(
            range(len(domains)),
            shares,
            left=left,
            height=0.7,
            color=COLOURS[index % len(COLOURS)],
            alpha=0.55,
            hatch=hatches[index % len(hatches)],
            edgecolor="white",
            label=source,
        )
        for place, (start, share) in enumerate(zip(left, shares, strict=True)):
            if share >= 0.07:
                box = {"facecolor": "white", "edgecolor": "none", "pad": 1.2, "alpha": 0.85}
                axes.text(
                    start + share / 2, place, f"{100 * share:.0f} %", ha="center", va="center", fontsize=8, bbox=box
                )
        left += shares
    axes.set_yticks(range(len(domains)), [f"{name} ({nearest['pictures'][name]})" for name in domains])
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    drawn.legend(
        *axes.get_legend_handles_labels(), loc="outside right upper", fontsize=8, frameon=False, title="nearest to"
    )
    title(axes, "Whose mask is the most confident on the pictures of each domain")
    return drawn


@styled
def ablation_figure(ablation: Ablation, domain: str) -> Figure:
    """Draw how the accuracy on one domain falls when neurons are switched off, place by place."""
    start = ablation["rows"][0]["accuracy"][domain]
    rows = ablation["rows"][1:]
    places = list(dict.fromkeys(row["site"] for row in rows))
    drawn, axes = figure(3.3 * max(1, len(places)) + 1.2, 2.9, 1, max(1, len(places)), sharey=True)
    for place, site in zip(axes, places, strict=False):
        own = [row for row in rows if row["site"] == site]
        lines = list(dict.fromkeys((row["kind"], row.get("matched")) for row in own))
        ends = []
        place.axhline(100 * start, color=GRID, linewidth=1)
        for kind, matched in lines:
            points = [row for row in own if (row["kind"], row.get("matched")) == (kind, matched)]
            of = matched or kind
            x = [0.0, *(row["neurons"] for row in points)]
            y = [100 * start, *(100 * row["accuracy"][domain] for row in points)]
            error = [0.0, *(100 * row.get("deviation", {}).get(domain, 0.0) for row in points)]
            colour = {"shared": KIND_COLOURS["shared"], "specific": "#b36b00"}[of]
            dashes = "-" if matched is None else (0, (1, 1.5))
            mark = {"shared": "o", "specific": "^"}[of]
            place.errorbar(
                x, y, yerr=error, color=colour, linestyle=dashes, marker=mark, markersize=4, linewidth=1.5, elinewidth=0.8,
                markerfacecolor=colour if matched is None else "white",
            )  # fmt: skip
            ends.append((x[-1], y[-1], kind if matched is None else f"as many random\nas {of}", colour))
        place.set_ylim(0, 100)
        place.set_xlabel("neurons switched off", fontsize=8, color=INK)
        label_ends(place, ends, gap=0.13)
        title(place, "all sites" if site == "all" else site)
    axes[0].set_ylabel(f"accuracy on {domain} in %", fontsize=8, color=INK)
    return drawn


@styled
def reliability_figure(calibration: Mapping[str, Calibration]) -> Figure:
    """Draw confidence against accuracy, domain by domain, and below how many pictures there are at each confidence."""
    count = len(calibration)
    drawn, axes = figure(
        2.3 * count + 0.6, 3.2, 2, count, sharex=True, sharey="row", gridspec_kw={"height_ratios": [3, 1]}
    )
    for index, (domain, one) in enumerate(calibration.items()):
        above, below = axes[index], axes[count + index]
        bins = one["bins"]
        edges = np.array(bins["edges"])
        filled = [place for place, value in enumerate(bins["accuracy"]) if value is not None]
        heights = [bins["accuracy"][place] or 0.0 for place in filled]
        widths = np.diff(edges)[filled]
        above.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, linestyle=(0, (4, 2)))
        above.bar(edges[:-1][filled], heights, widths, align="edge", color=COLOURS[0], alpha=0.35, edgecolor="white")
        above.plot(
            [bins["confidence"][place] for place in filled], heights, color=INK, marker="o", markersize=3, linewidth=1
        )
        shares = np.array(bins["counts"]) / max(1, one["pictures"])
        below.bar(edges[:-1], shares, np.diff(edges), align="edge", color="#9aa5b1", edgecolor="white", linewidth=0.4)
        above.set_xlim(0, 1)
        above.set_ylim(0, 1)
        below.set_xlabel("confidence", fontsize=8, color=INK)
        title(above, f"{domain}\nECE {100 * one['ece']:.1f} %, {one['pictures']} pictures")
    axes[0].set_ylabel("accuracy", fontsize=8, color=INK)
    axes[count].set_ylabel("share", fontsize=8, color=INK)
    return drawn


@styled
def confusion_figure(confusion: Confusion, domain: str) -> Figure:
    """Draw which classes are taken for which on one domain, in % of each class's pictures; numbers count pictures."""
    counts = np.array(confusion["counts"])
    names = confusion["classes"]
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
    small = {"fontsize": 8 if len(names) <= 20 else 6}
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor", **small)
    empty = [name if total else f"{name} (none)" for name, total in zip(names, totals[:, 0], strict=True)]
    axes.set_yticks(range(len(names)), empty, **small)
    axes.set_xlabel("predicted", fontsize=8, color=INK)
    axes.set_ylabel("label", fontsize=8, color=INK)
    axes.tick_params(length=0)
    shown = "" if confusion["of"] == len(names) else f", {len(names)} classes with the most errors of {confusion['of']}"
    title(axes, f"{domain}: pictures by label and prediction{shown}")
    return drawn
