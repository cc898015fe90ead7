"""How figures look: readable in black and white, by the colour-blind, and small in a paper."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK = "#1a1a1a"
MUTED = "#6b6b6b"
GRID = "#e2e2e2"
# Okabe and Ito's colours, in an order in which neighbours also differ in lightness; each goes with its own dashes and mark.
COLOURS = ("#0072b2", "#e69f00", "#000000", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 1.5, 1, 1.5)), (0, (8, 2)), (0, (3, 1)), "-.")
MARKS = ("o", "s", "^", "D", "v", "P", "X")
KIND_COLOURS = {"off": "#ededed", "shared": "#1f4e79", "specific": "#f0a63c"}
KIND_HATCHES = {"off": "", "shared": "", "specific": "////"}
SHADES = "Blues"
DPI = 150
# Names of domains and classes are text: a dollar sign in one starts no formula.
SETTINGS: dict[Any, Any] = {"text.parse_math": False, "hatch.linewidth": 0.8, "font.family": "DejaVu Sans"}

Parameters = ParamSpec("Parameters")
Drawn = TypeVar("Drawn")


def styled(draw: Callable[Parameters, Drawn]) -> Callable[Parameters, Drawn]:
    """Return ``draw`` with these settings of matplotlib within it, and those that were there before after it."""

    @wraps(draw)
    def drawn(*arguments: Parameters.args, **options: Parameters.kwargs) -> Drawn:
        with mpl.rc_context(SETTINGS):
            return draw(*arguments, **options)

    return drawn


def figure(width: float, height: float, rows: int = 1, columns: int = 1, **options: Any) -> tuple[Figure, list[Axes]]:
    """Return an empty figure of ``width`` by ``height`` inches and its axes, row by row."""
    drawn = Figure(figsize=(width, height), dpi=DPI, layout="constrained", facecolor="white")
    axes = drawn.subplots(rows, columns, squeeze=False, **options)
    flat: list[Axes] = list(axes.flat)
    for one in flat:
        plain(one)
    return drawn, flat


def plain(axes: Axes) -> None:
    """Take away what holds no data."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(MUTED)
    axes.tick_params(colors=MUTED, labelcolor=INK, labelsize=8)


def line_style(index: int) -> dict[str, Any]:
    """Return colour, dashes and mark of the line with this index."""
    return {
        "color": COLOURS[index % len(COLOURS)],
        "linestyle": DASHES[index % len(DASHES)],
        "marker": MARKS[index % len(MARKS)],
        "markersize": 4,
        "linewidth": 1.6,
    }


def label_ends(axes: Axes, ends: Sequence[tuple[float, float, str, str]], gap: float = 0.07) -> None:
    """Write a label at the end of each line, (x, y, text, colour), moved apart where they would touch.

    ``gap`` is the least distance, as a part of the height of ``axes``, whose limits must be set before.
    """
    low, high = axes.get_ylim()
    span = (high - low) or 1.0
    ordered = sorted(ends, key=lambda end: end[1])
    heights = [(end[1] - low) / span for end in ordered]
    for index in range(1, len(heights)):
        heights[index] = max(heights[index], heights[index - 1] + gap)
    over = max(0.0, heights[-1] - 1.0) if heights else 0.0
    for (x, y, text, colour), height in zip(ordered, heights, strict=True):
        axes.annotate(
            text,
            xy=(x, y),
            xytext=(1.03, height - over),
            textcoords="axes fraction",
            fontsize=8,
            color=colour,
            va="center",
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 2},
            annotation_clip=False,
        )


def title(axes: Axes, text: str) -> None:
    """Put a title above ``axes``, at its left edge."""
    axes.set_title(text, fontsize=9, loc="left", color=INK)
