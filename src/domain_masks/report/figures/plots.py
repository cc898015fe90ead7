"""Figures as data, independent of the renderer: panels that share a legend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["line", "steps", "bars", "stacked", "points"]


@dataclass(frozen=True)
class Series:
    """One line, or one colour of bars.

    - ``x``: positions (for bars 0, 1, ... in the order of the panel's ``ticks``)
    - ``y``: values; None for a missing one
    - ``spread``: the deviation on either side: a band around a line, a bar through points
    - ``colour``: index in the palette, consistent over all panels
    - ``kind``: a line, the steps of a histogram, grouped bars, stacked bars, or points without a line
    """

    label: str
    x: Sequence[float]
    y: Sequence[float | None]
    colour: int
    spread: Sequence[float | None] | None = None
    is_mean: bool = False
    kind: Kind = "line"

    def __post_init__(self) -> None:
        for name in ("x", "y", "spread"):
            if (values := getattr(self, name)) is not None:
                object.__setattr__(self, name, tuple(values))


@dataclass(frozen=True)
class Panel:
    """One pair of axes.

    - ``ticks``: (position, label) on the x axis; empty for automatic ticks
    - ``limits``: of the y axis; ``x_limits``: of the x axis
    - ``diagonal``: whether to draw the line from (0, 0) to (1, 1)
    """

    title: str
    x_label: str
    y_label: str
    series: Sequence[Series]
    ticks: Sequence[tuple[float, str]] = field(default=())
    limits: tuple[float | None, float | None] = (None, None)
    diagonal: bool = False
    x_limits: tuple[float | None, float | None] = (None, None)

    def __post_init__(self) -> None:
        for name in ("series", "ticks"):
            object.__setattr__(self, name, tuple(getattr(self, name)))


@dataclass(frozen=True)
class Plot:
    """Panels that belong together, under one title and with one legend.

    - ``name``: stem of its file name
    - ``oracle``: whether the runs were selected with labels of the held-out domain
    """

    name: str
    title: str
    caption: str
    panels: Sequence[Panel]
    oracle: bool = False

    @property
    def legend(self) -> list[Series]:
        """The series of all panels, each label once, means last."""
        by_label: dict[str, Series] = {}
        for panel in self.panels:
            for series in panel.series:
                by_label.setdefault(series.label, series)
        ordered = sorted(by_label.values(), key=lambda series: series.is_mean)
        return ordered if len(by_label) > 1 or len(self.panels) == 1 else []
