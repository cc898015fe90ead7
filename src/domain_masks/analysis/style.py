"""How figures look: readable in black and white, by the colour-blind, and small in a paper."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from domain_masks.analysis.fonts import families, letters_of
from domain_masks.records.files import printable
from domain_masks.records.names import columns_of, shortened

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
_LETTERS_PER_INCH = 13.5
"""Of 9 points, on average."""
# Names of domains and classes are text: a dollar sign in one starts no formula.
SETTINGS: dict[Any, Any] = {"text.parse_math": False, "hatch.linewidth": 0.8}

Parameters = ParamSpec("Parameters")
Drawn = TypeVar("Drawn")


def styled(draw: Callable[Parameters, Drawn]) -> Callable[Parameters, Drawn]:
    """Return ``draw`` with these settings of matplotlib within it, and those that were there before after it.

    Its fonts have the letters of all texts among the arguments, as far as there are such fonts here.
    """

    @wraps(draw)
    def drawn(*arguments: Parameters.args, **options: Parameters.kwargs) -> Drawn:
        with mpl.rc_context({**SETTINGS, "font.family": families(letters_of(arguments, options))}):
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


def title(axes: Axes, text: str, columns: int = 1) -> None:
    """Put a title above one of ``columns`` axes side by side, at its left edge, in as many lines as it needs."""
    width = axes.get_figure(root=True).get_figwidth() / columns - 0.9  # type: ignore[union-attr]
    axes.set_title(wrapped(text, max(12, int(width * _LETTERS_PER_INCH))), fontsize=9, loc="left", color=INK)


def headline(drawn: Figure, text: str, beside: float = 0.2) -> None:
    """Put a title above the whole figure, at its left edge, in as many lines as it needs; ``beside`` inches stay free."""
    most = int((drawn.get_figwidth() - beside) * _LETTERS_PER_INCH)
    drawn.suptitle(wrapped(text, most), x=0.1 / drawn.get_figwidth(), ha="left", fontsize=9, color=INK)


def legend(drawn: Figure, handles: Sequence[Any], names: Sequence[str], **options: Any) -> None:
    """Put a legend beside the axes, whatever the names are: of their own, matplotlib leaves out those that begin with _."""
    made = drawn.legend(handles, ["x"] * len(names), loc="outside right upper", fontsize=8, frameon=False, **options)
    for place, name in zip(made.get_texts(), names, strict=True):
        place.set_text(shortened(name))


def wrapped(text: str, most: int) -> str:
    """Return text in lines of ``most`` columns; a word that is longer is broken, what cannot be printed is escaped."""
    lines = []
    for paragraph in map(printable, text.split("\n")):
        line = ""
        for word in paragraph.split(" "):
            candidate = f"{line} {word}" if line else word
            if columns_of(candidate) <= most:
                line = candidate
                continue
            if line:
                lines.append(line)
            line = word
            while columns_of(line) > most:
                head = line
                while columns_of(head) > most:
                    head = head[:-1]
                lines.append(head)
                line = line[len(head) :]
        lines.append(line)
    return "\n".join(lines)


def save(drawn: Figure, path: Path) -> None:
    """Write a figure as PNG. Letters that no font has were told by :func:`~domain_masks.analysis.fonts.missing_note`."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")
        drawn.savefig(path, format="png")
