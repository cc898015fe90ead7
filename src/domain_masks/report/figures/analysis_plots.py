"""What an analysis of one run shows in figures: nearest sources, ablation, calibration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from domain_masks.records.analysis import Ablation, AblationRow, Calibration, NearestSource
from domain_masks.report.figures.palette import MEAN
from domain_masks.report.figures.plots import Panel, Plot, Series

ALL_SITES = "all"
_ABLATED = {"shared": 0, "specific": 1, "random, as many as shared": 5, "random, as many as specific": MEAN}


def nearest_plot(name: str, nearest: NearestSource) -> Plot:
    """Return which source the images of each domain are nearest to, as stacked shares."""
    domains = list(nearest.domains)
    sources = list(dict.fromkeys(source for shares in nearest.domains.values() for source in shares))
    places = [float(place) for place in range(len(domains))]
    series = [
        Series(source, places, [nearest.domains[domain].get(source) for domain in domains], place, kind="stacked")
        for place, source in enumerate(sources)
    ]
    ticks = list(zip(places, domains, strict=True))
    panel = Panel("Nearest source", "images of", "share of images", series, ticks, (0, 1))
    right = nearest.right
    caption = (
        f"Which source the images of each domain are nearest to, by the {right.by}, which is right on "
        f"{100 * right.accuracy:.1f} % of the sources' own {right.split} images."
    )
    return Plot(name, "Nearest source", caption, [panel])


def ablation_plot(name: str, ablation: Ablation, panels: Mapping[str, tuple[str, str]]) -> Plot | None:
    """Return how the accuracy falls with the fraction of units that is zeroed; ``panels``: title -> domain and site.

    None where no units were zeroed.
    """
    made = []
    for title, (domain, site) in panels.items():
        counts = {row.kind: row.neurons for row in ablation.rows if row.site == site and row.fraction == 1}
        zeroed = ", ".join(f"{counts[kind]:,} {kind}" for kind in ("shared", "specific") if kind in counts)
        if series := _ablated(ablation.rows, domain, site):
            made.append(Panel(f"{title}\n{zeroed}", "fraction zeroed", "accuracy, %", series, limits=(0, None)))
    caption = (
        "Accuracy of the prediction ensemble with units of one kind zeroed in the masks of all sources; random: as many units "
        "drawn from all, the control of a kind. Shaded: ± one standard deviation over random choices."
    )
    return Plot(name, "Ablation of units", caption, made) if made else None


def ablation_sites(ablation: Ablation) -> list[str]:
    """Return where units were zeroed; several sites at once are ``ALL_SITES``, which comes first."""
    sites = dict.fromkeys(row.site for row in ablation.rows if row.neurons)
    return sorted(sites, key=lambda site: site != ALL_SITES)


def calibration_plot(name: str, calibration: Mapping[str, Calibration], held_out: Iterable[str]) -> Plot:
    """Return accuracy against confidence, and the share of images of each confidence, a panel per domain."""
    targets = list(held_out)
    panels = []
    for domain, found in calibration.items():
        bins = found.bins
        points = [
            (confidence, accuracy)
            for confidence, accuracy in zip(bins.confidence, bins.accuracy, strict=True)
            if confidence is not None and accuracy is not None
        ]
        middles = [(low + high) / 2 for low, high in pairwise(bins.edges)]
        shares = [count / max(1, found.images) for count in bins.counts]
        series = [
            Series("share of images", middles, shares, MEAN, kind="bars"),
            Series("accuracy", [x for x, _ in points], [y for _, y in points], 0),
        ]
        title = f"{domain}{' (held out)' if domain in targets else ''}\nECE {found.ece:.3f}, n = {found.images:,}"
        ticks = [(place / 4, f"{place / 4:g}") for place in range(5)]
        panels.append(Panel(title, "confidence", "accuracy", series, ticks, (0, 1), diagonal=True))
    caption = (
        "Accuracy of the images of each confidence, and what share of all they are; on the dashed line confidence is right. "
        "ECE: expected calibration error."
    )
    return Plot(name, "Calibration", caption, panels)


def _ablated(rows: Sequence[AblationRow], domain: str, site: str) -> list[Series]:
    """Return accuracy against the fraction that is zeroed, a line per kind; all begin where nothing is."""
    here = [row for row in rows if domain in row.accuracy]
    whole = [row for row in here if not row.neurons]
    series: list[Series] = []
    zeroed = [row for row in here if row.neurons and row.site == site]
    for kind, matched in dict.fromkeys((row.kind, row.matched) for row in zeroed):
        mine = [row for row in zeroed if (row.kind, row.matched) == (kind, matched)]
        line = sorted([*whole[:1], *mine], key=lambda row: row.fraction)
        label = f"random, as many as {matched}" if matched else kind
        spread = [row.deviation.get(domain) for row in line]
        series.append(
            Series(
                label,
                [row.fraction for row in line],
                [100 * row.accuracy[domain] for row in line],
                _ABLATED.get(label, len(series) + 2),
                [None if value is None else 100 * value for value in spread],
            )
        )
    return series
