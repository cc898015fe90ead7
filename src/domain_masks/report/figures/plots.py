"""What a figure shows, without how it is drawn: panels beside each other that share a legend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["line", "steps", "bars", "stacked"]


@dataclass(frozen=True)
class Series:
    """One line, or one colour of bars.

    - ``x``: positions (for bars: 0, 1, ... in the order of the panel's ``ticks``); ``y``: None where there is no value
    - ``spread``: the deviation on either side
    - ``colour``: its place in the palette, the same for the same thing in all panels
    - ``kind``: a line, the steps of a histogram, bars beside those of the other series, or on top of them
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

    - ``ticks``: (position, label) on the x axis; none leaves them to the numbers
    - ``limits``: of the y axis
    - ``diagonal``: whether the line from (0, 0) to (1, 1) is drawn
    """

    title: str
    x_label: str
    y_label: str
    series: Sequence[Series]
    ticks: Sequence[tuple[float, str]] = field(default=())
    limits: tuple[float | None, float | None] = (None, None)
    diagonal: bool = False

    def __post_init__(self) -> None:
        for name in ("series", "ticks"):
            object.__setattr__(self, name, tuple(getattr(self, name)))


@dataclass(frozen=True)
class Plot:
    """Panels that belong together, under one title and with one legend.

    - ``name``: of its file; ``caption``: what is seen and from which numbers
    - ``oracle``: whether labels of the held-out domain chose what is shown
    """

    name: str
    title: str
    caption: str
    panels: Sequence[Panel]
    oracle: bool = False

    @property
    def legend(self) -> list[Series]:
        """The series of all panels, each label once, means last."""
        found: dict[str, Series] = {}
        for panel in self.panels:
            for series in panel.series:
                found.setdefault(series.label, series)
        ordered = sorted(found.values(), key=lambda series: series.is_mean)
        return ordered if len(found) > 1 or len(self.panels) == 1 else []
