"""Figures of one run's analysis: nearest source, ablation, calibration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from domain_masks.records.analysis import Ablation, AblationRow, Calibration, NearestSource
from domain_masks.report.figures.palette import MEAN
from domain_masks.report.figures.plots import Panel, Plot, Series

ALL_SITES = "all"
_ABLATED = {"shared": 0, "specific": 1, "random, as many as shared": 5, "random, as many as specific": MEAN}


def nearest_plot(name: str, nearest: NearestSource) -> Plot:
    """Return the nearest sources of each domain's images as stacked fractions."""
    domains = list(nearest.domains)
    sources = list(dict.fromkeys(source for shares in nearest.domains.values() for source in shares))
    places = [float(place) for place in range(len(domains))]
    series = [
        Series(source, places, [nearest.domains[domain].get(source) for domain in domains], place, kind="stacked")
        for place, source in enumerate(sources)
    ]
    ticks = list(zip(places, domains, strict=True))
    panel = Panel("Nearest source", "images of", "fraction of images", series, ticks, (0, 1))
    right = nearest.right
    caption = (
        f"The nearest source of the images of each domain, by the {right.by}, which is correct on "
        f"{100 * right.accuracy:.1f} % of the sources' own {right.split} images."
    )
    return Plot(name, "Nearest source", caption, [panel])


def ablation_plot(name: str, ablation: Ablation, panels: Mapping[str, tuple[str, str]]) -> Plot | None:
    """Return accuracy against the fraction of zeroed units; None if no units were zeroed.

    - ``panels``: title -> domain and site
    """
    made = []
    for title, (domain, site) in panels.items():
        counts = {row.kind: row.neurons for row in ablation.rows if row.site == site and row.fraction == 1}
        zeroed = ", ".join(f"{counts[kind]:,} {kind}" for kind in ("shared", "specific") if kind in counts)
        if series := _ablated(ablation.rows, domain, site):
            made.append(Panel(f"{title}\n{zeroed}", "fraction zeroed", "accuracy, %", series, limits=(0, None)))
    caption = (
        "Accuracy of the prediction ensemble with units of one kind zeroed in the masks of all sources; random: equally many "
        "units drawn from all units, as a control. Shaded: ± one standard deviation over random choices."
    )
    return Plot(name, "Ablation of units", caption, made) if made else None


def ablation_sites(ablation: Ablation) -> list[str]:
    """Return the sites at which units were zeroed; ``ALL_SITES``, for all together, comes first."""
    sites = dict.fromkeys(row.site for row in ablation.rows if row.neurons)
    return sorted(sites, key=lambda site: site != ALL_SITES)


def calibration_plot(name: str, calibration: Mapping[str, Calibration], held_out: Iterable[str]) -> Plot:
    """Return reliability diagrams with the fraction of images per bin, a panel per domain."""
    targets = list(held_out)
    panels = []
    for domain, measured in calibration.items():
        bins = measured.bins
        points = [
            (confidence, accuracy)
            for confidence, accuracy in zip(bins.confidence, bins.accuracy, strict=True)
            if confidence is not None and accuracy is not None
        ]
        middles = [(low + high) / 2 for low, high in pairwise(bins.edges)]
        shares = [count / max(1, measured.images) for count in bins.counts]
        series = [
            Series("fraction of images", middles, shares, MEAN, kind="bars"),
            Series("accuracy", [x for x, _ in points], [y for _, y in points], 0),
        ]
        title = f"{domain}{' (held out)' if domain in targets else ''}\nECE {measured.ece:.3f}, n = {measured.images:,}"
        ticks = [(place / 4, f"{place / 4:g}") for place in range(5)]
        panels.append(Panel(title, "confidence", "accuracy", series, ticks, (0, 1), diagonal=True))
    caption = (
        "Accuracy and fraction of the images in each confidence bin; the dashed line is perfect calibration. ECE: expected "
        "calibration error."
    )
    fitted = next((one.temperature for one in calibration.values() if one.temperature is not None), None)
    if fitted is not None:
        caption += (
            f" Of the probabilities that the calibrated model gives, with temperature {fitted:.3g}; it was fitted on the "
            "sources' validation images, on which the error is therefore lower than on others."
        )
    return Plot(name, "Calibration", caption, panels)


def _ablated(rows: Sequence[AblationRow], domain: str, site: str) -> list[Series]:
    """Return accuracy against the zeroed fraction, a line per kind, each starting at 0."""
    of_domain = [row for row in rows if domain in row.accuracy]
    unablated = [row for row in of_domain if not row.neurons]
    series: list[Series] = []
    zeroed = [row for row in of_domain if row.neurons and row.site == site]
    for kind, matched in dict.fromkeys((row.kind, row.matched) for row in zeroed):
        of_kind = [row for row in zeroed if (row.kind, row.matched) == (kind, matched)]
        line = sorted([*unablated[:1], *of_kind], key=lambda row: row.fraction)
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
