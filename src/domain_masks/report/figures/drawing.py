"""Draw panels with matplotlib, for all file formats."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from domain_masks.records.files import printable
from domain_masks.records.names import columns_of, shortened
from domain_masks.report.figures.palette import LIGHT, Palette
from domain_masks.report.figures.plots import Panel, Plot, Series

WIDTH, HEIGHT = 3.35, 2.45
"""Size of one panel in inches; at 96 pixels per inch it fits a phone without scaling."""
ACROSS = 3
"""Panels in a row."""
LETTERS_PER_INCH = 13
"""Average number of letters of 9 points per inch."""
MOST_IN_TITLE = 36
MOST_ALONG_AXIS = 30
"""Number of letters along an axis from which its labels are slanted."""
MOST_MARKERS = 15
MARKERS = "osD^vPX*"
DASHES: Sequence[Any] = ("solid", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)))
_STYLE: dict[str, Any] = {
    # Keep text as text, and make equal figures equal files.
    "svg.fonttype": "none",
    "svg.hashsalt": "domain-masks",
    # Names of domains and classes are plain text: a dollar sign does not start a formula.
    "text.parse_math": False,
    "font.size": 9,
    "font.family": "sans-serif",
    "axes.labelsize": 9,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "grid.linewidth": 0.6,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.5,
    "lines.markersize": 4.5,
    "hatch.linewidth": 0.8,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
}
_TEXTS = ("text.color", "axes.labelcolor", "axes.titlecolor", "xtick.labelcolor", "ytick.labelcolor")
_LINES = ("xtick.color", "ytick.color", "axes.edgecolor", "grid.color")


@contextmanager
def styled(palette: Palette, **more: Any) -> Iterator[None]:
    """Apply the style of all figures in this block; missing glyphs are reported elsewhere, or available in browsers."""
    settings: Any = {**_STYLE, **dict.fromkeys(_TEXTS, palette.text), **dict.fromkeys(_LINES, palette.faint), **more}
    with mpl.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")
        yield


def drawn_panel(panel: Panel, palette: Palette) -> Figure:
    """Return one panel without a legend."""
    canvas = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
    _draw(canvas, panel, palette)
    return canvas


def drawn_plot(plot: Plot, palette: Palette) -> Figure:
    """Return all panels of a plot and their legend."""
    columns = min(len(plot.panels), ACROSS)
    rows = -(-len(plot.panels) // columns)
    longest = max((columns_of(shortened(series.label)) for series in plot.legend), default=0)
    beside = max(1, int(columns * WIDTH * LETTERS_PER_INCH) // (longest + 6))
    lines = -(-len(plot.legend) // beside)
    canvas = Figure(figsize=(columns * WIDTH, rows * HEIGHT + 0.2 * lines), layout="constrained")
    for place, panel in zip(canvas.subfigures(rows, columns, squeeze=False).flat, plot.panels, strict=False):
        _draw(place, panel, palette)
    if plot.legend:
        handles = [_handle(series, palette) for series in plot.legend]
        # Labels are set afterwards, since matplotlib omits those that start with an underscore.
        legend = canvas.legend(handles, ["x"] * len(handles), loc="outside upper left", ncols=beside)
        for text, series in zip(legend.get_texts(), plot.legend, strict=True):
            text.set_text(shortened(series.label))
    return canvas


def dashes_of(series: Series) -> Any:
    """Return the matplotlib line style of a series."""
    return DASHES[0 if series.is_mean else series.colour % len(DASHES)]


def marker_of(series: Series) -> str:
    """Return the marker of points: one for as many series as there are colours."""
    return MARKERS[series.colour // len(LIGHT.series) % len(MARKERS)]


def _handle(series: Series, palette: Palette) -> Line2D | Patch:
    colour = _colour(series, palette)
    if series.kind in ("bars", "stacked"):
        return Patch(color=colour)
    if series.kind == "points":
        return Line2D([], [], color=colour, linestyle="none", marker=marker_of(series))
    marker = MARKERS[series.colour % len(MARKERS)] if series.kind == "line" else None
    return Line2D([], [], color=colour, linestyle=dashes_of(series), marker=marker)


def _colour(series: Series, palette: Palette) -> str:
    return palette.series[series.colour % len(palette.series)]


def _draw(place: FigureBase, panel: Panel, palette: Palette) -> None:
    # A figure title, not an axes title, so that it starts at the left edge and has the full width.
    title = "\n".join(shortened(line, MOST_IN_TITLE) for line in panel.title.split("\n"))
    place.suptitle(title, x=0.02, ha="left", fontsize=9.5, fontweight="bold")
    axes = place.add_subplot()
    axes.patch.set_alpha(0)
    axes.set_xlabel(printable(panel.x_label))
    axes.set_ylabel(printable(panel.y_label))
    if panel.diagonal:
        axes.plot([0, 1], [0, 1], color=palette.faint, linewidth=1, linestyle="dashed")
    _bars(axes, panel, palette)
    for series in panel.series:
        if series.kind in ("line", "steps"):
            _line(axes, series, palette)
        elif series.kind == "points":
            axes.plot(
                series.x,
                [np.nan if value is None else value for value in series.y],
                color=_colour(series, palette),
                linestyle="none",
                marker=marker_of(series),
                markersize=3.5,
                markeredgewidth=0,
                alpha=0.75,
            )
            _error_bars(axes, series, palette)
    if panel.ticks:
        labels = [shortened(label) for _, label in panel.ticks]
        is_slanted = sum(map(columns_of, labels)) > MOST_ALONG_AXIS
        slanted: dict[str, Any] = {"rotation": 25, "ha": "right", "rotation_mode": "anchor"} if is_slanted else {}
        axes.set_xticks([position for position, _ in panel.ticks], labels, **slanted)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=panel.x_label == "epoch", min_n_ticks=1))
    axes.set_ylim(*panel.limits)
    axes.set_xlim(*panel.x_limits)


def _line(axes: Axes, series: Series, palette: Palette) -> None:
    spreads = series.spread or [None] * len(series.x)
    known = [point for point in zip(series.x, series.y, spreads, strict=True) if point[1] is not None]
    x, y = [point[0] for point in known], [float(point[1] or 0.0) for point in known]
    colour = _colour(series, palette)
    is_marked = series.kind == "line" and len(x) <= MOST_MARKERS
    axes.plot(
        x,
        y,
        color=colour,
        linestyle=dashes_of(series),
        marker=MARKERS[series.colour % len(MARKERS)] if is_marked else None,
        drawstyle="steps-mid" if series.kind == "steps" else "default",
        linewidth=2.8 if series.is_mean else 1.5,
        clip_on=False,
    )
    spread = [point[2] or 0.0 for point in known]
    if any(spread):
        low = [value - part for value, part in zip(y, spread, strict=True)]
        high = [value + part for value, part in zip(y, spread, strict=True)]
        axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)


def _error_bars(axes: Axes, series: Series, palette: Palette) -> None:
    known = [
        point
        for point in zip(series.x, series.y, series.spread or (), strict=False)
        if None not in (point[1], point[2])
    ]
    if known:
        x, y, spread = zip(*known, strict=True)
        axes.errorbar(x, y, spread, color=_colour(series, palette), linestyle="none", elinewidth=1.2, capsize=2)


def _bars(axes: Axes, panel: Panel, palette: Palette) -> None:
    beside = [series for series in panel.series if series.kind == "bars"]
    below: dict[float, float] = {}
    for series in panel.series:
        if series.kind not in ("bars", "stacked"):
            continue
        is_stacked = series.kind == "stacked"
        apart = min((after - before for before, after in pairwise(series.x)), default=1.0)
        width = apart * (0.62 if is_stacked else 0.8 / len(beside))
        offset = 0.0 if is_stacked else (beside.index(series) - (len(beside) - 1) / 2) * width
        heights = [value or 0.0 for value in series.y]
        bottom = [below.get(x, 0.0) if is_stacked else 0.0 for x in series.x]
        axes.bar(
            [x + offset for x in series.x],
            heights,
            width * 0.94,
            bottom=bottom,
            color=_colour(series, palette),
            hatch="///" if series.colour >= len(palette.series) else None,
            edgecolor=palette.faint,
            linewidth=0,
        )
        if is_stacked:
            below |= {x: low + height for x, low, height in zip(series.x, bottom, heights, strict=True)}
