"""Figures of the masks (Figure 4): overlap, active units, units by kind, and mask probabilities."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from domain_masks.records.analysis import SiteAnalysis
from domain_masks.records.pairs import pair_title
from domain_masks.report.figures.palette import MEAN
from domain_masks.report.figures.plots import Panel, Plot, Series

KIND_COLOURS = {"off": MEAN, "shared": 0, "specific": 1}
MaskValues = Mapping[tuple[str, str, str], float]
"""(quantity, mask site, name) -> fraction; see :data:`~domain_masks.report.tables.mask_tables.MASKS`."""


def overlap_plot(name: str, title: str, caption: str, panels: Mapping[str, MaskValues], oracle: bool = False) -> Plot:
    """Return the IoU of every pair of hard masks and their mean, by site; ``panels``: title -> values."""
    return Plot(name, title, caption, _panels(panels, "pairwise_iou", "IoU"), oracle)


def active_plot(name: str, title: str, caption: str, panels: Mapping[str, MaskValues], oracle: bool = False) -> Plot:
    """Return the fraction of units that each source's hard mask leaves active, and the average, by site."""
    return Plot(name, title, caption, _panels(panels, "activated", "fraction of units"), oracle)


def kinds_plot(name: str, title: str, caption: str, by_target: Mapping[str, MaskValues], oracle: bool = False) -> Plot:
    """Return the stacked fractions of inactive, shared and specific units: a panel per site, a bar per target."""
    sites = _names(by_target, "kinds", 1)
    places = [float(place) for place in range(len(by_target))]
    panels = []
    for site in sites:
        series = [
            Series(
                kind,
                places,
                [values.get(("kinds", site, kind)) for values in by_target.values()],
                KIND_COLOURS[kind],
                kind="stacked",
            )
            for kind in KIND_COLOURS
        ]
        ticks = [(place, target or "–") for place, target in zip(places, by_target, strict=True)]
        panels.append(Panel(site, "held-out domain", "fraction of units", series, ticks, (0, 1)))
    return Plot(name, title, caption, panels, oracle)


def probabilities_plot(name: str, sites: Mapping[str, SiteAnalysis]) -> Plot:
    """Return the distribution of each source's mask probabilities, a panel per site."""
    panels = []
    for site, masks in sites.items():
        edges = masks.probabilities.edges
        middles = [(low + high) / 2 for low, high in pairwise(edges)]
        series = [
            Series(source, middles, [count / max(1, sum(counts)) for count in counts], place, kind="steps")
            for place, (source, counts) in enumerate(masks.probabilities.counts.items())
        ]
        ticks = [(place, f"{place:g}") for place in (0.0, 0.5, 1.0)]
        title = f"{site} ({masks.neurons:,} units)"
        panels.append(Panel(title, "mask probability m", "fraction of units", series, ticks, (0, None)))
    caption = "Distribution of the mask probabilities; a unit is active in the hard mask if m > 0.5."
    return Plot(name, "Mask probabilities", caption, panels)


_MEANS = {"pairwise_iou": ("overall_iou", "mean of pairs"), "activated": ("average_activated", "average of sources")}


def _panels(panels: Mapping[str, MaskValues], quantity: str, label: str) -> list[Panel]:
    """Return a panel per title: a series of bars per name and one of their mean, sites along the axis."""
    names = sorted(_names(panels, quantity, 2))
    mean, mean_title = _MEANS[quantity]
    made = []
    for title, values in panels.items():
        sites = _names({title: values}, quantity, 1)
        places = [float(place) for place in range(len(sites))]

        # A name has the same colour in all panels; the colour of the mean is skipped.
        wanted = [
            (quantity, name, pair_title(name) if quantity == "pairwise_iou" else name, place + place // MEAN)
            for place, name in enumerate(names)
        ]
        wanted += [(mean, name, mean_title, MEAN) for name in _names({title: values}, mean, 2)]
        series = []
        for measure, name, label_of, colour in wanted:
            heights = [values.get((measure, site, name)) for site in sites]
            if any(value is not None for value in heights):
                series.append(Series(label_of, places, heights, colour, is_mean=measure == mean, kind="bars"))
        made.append(Panel(title, "", label, series, list(zip(places, sites, strict=True)), (0, 1)))
    return made


def _names(panels: Mapping[str, MaskValues], quantity: str, part: int) -> list[str]:
    """Return the sites (1) or names (2) of a quantity in all panels, in order."""
    return list(dict.fromkeys(key[part] for values in panels.values() for key in values if key[0] == quantity))
