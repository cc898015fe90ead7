"""Figures of features in two dimensions, by domain and by class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from domain_masks.records.explanations import FeatureMap
from domain_masks.report.figures.palette import MEAN
from domain_masks.report.figures.plots import Panel, Plot, Series

MOST_CLASSES = 14
"""Classes with a colour and marker of their own: the most frequent ones."""
_OTHER = "other classes"


def feature_plots(name: str, points: FeatureMap, held_out: Sequence[str]) -> list[Plot]:
    """Return two figures of one map: all domains in one panel, and a panel per domain, coloured by class."""
    x_limits, limits = _around(points.x), _around(points.y)
    axes = ("first", "second") if points.method == "PCA" else ("UMAP 1", "UMAP 2")
    titles = {domain: f"{domain}{' (held out)' if domain in held_out else ''}" for domain in points.domains}
    if points.explained:
        axes = (f"PC 1 ({points.explained[0]:.0%} of variance)", f"PC 2 ({points.explained[1]:.0%})")

    def panel(title: str, series: Sequence[Series]) -> Panel:
        return Panel(title, axes[0], axes[1], series, limits=limits, x_limits=x_limits)

    by_domain = [
        _series(points, [place == own for own in points.domain], titles[domain], colour_of(place))
        for place, domain in enumerate(points.domains)
    ]
    usual = [label for label, _ in Counter(sorted(points.label)).most_common(MOST_CLASSES)]
    shown = sorted(usual)
    groups = [({label}, points.classes[label], colour_of(place)) for place, label in enumerate(shown)]
    if rest := set(points.label) - set(shown):
        groups.append((rest, _OTHER, MEAN))
    panels = []
    for place, domain in enumerate(points.domains):
        series = [
            _series(
                points,
                [own == place and label in labels for own, label in zip(points.domain, points.label, strict=True)],
                title,
                colour,
            )
            for labels, title, colour in groups
        ]
        panels.append(panel(titles[domain], [one for one in series if one.x]))
    what = f"The {points.size:,} features at the input of {points.layer} of {len(points.x):,} images"
    how = (
        "the two directions of largest variance"
        if points.method == "PCA"
        else "UMAP keeps neighbours near; its axes and the distances between groups mean nothing"
    )
    caption = f"{what}, averaged over positions, in two dimensions ({points.method}: {how})."
    return [
        Plot(f"{name}_by_domain", "Features by domain", caption, [panel("All domains", by_domain)]),
        Plot(f"{name}_by_class", "Features by class", "The same points, a panel for each domain.", panels),
    ]


def colour_of(place: int) -> int:
    """Return the colour of a series by its place, without the grey of means."""
    return place + place // MEAN


def _series(points: FeatureMap, chosen: Sequence[bool], title: str, colour: int) -> Series:
    x = [value for value, is_chosen in zip(points.x, chosen, strict=True) if is_chosen]
    y = [value for value, is_chosen in zip(points.y, chosen, strict=True) if is_chosen]
    return Series(title, x, y, colour, kind="points")


def _around(values: Sequence[float]) -> tuple[float, float]:
    margin = 0.05 * (max(values) - min(values)) or 1.0
    return min(values) - margin, max(values) + margin
