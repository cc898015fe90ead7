"""Figures as SVG that takes its colours from the page: text stays text, and light and dark need no second image."""

from __future__ import annotations

import io
import re
import warnings
import zlib
from collections.abc import Sequence
from functools import lru_cache
from html import escape
from typing import TYPE_CHECKING, Any

from domain_masks.records.files import as_bytes
from domain_masks.records.names import columns_of, shortened
from domain_masks.report.figures.plots import Figure, Panel, Series

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH, HEIGHT = 3.35, 2.45
"""Inches of one panel; at 96 per inch it fits a telephone without being scaled down."""
COLOURS = 8
MOST_MARKERS = 15
_EDGE = 3
"""Points that stay free at the edge of a panel."""
MOST_LETTERS = 30
"""Along an axis, before its labels are slanted."""
MARKERS = "osD^vPX*"
DASHES: Sequence[Any] = ("solid", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)))
_TEXT, _FAINT = "#010203", "#020304"
_SERIES = [f"#0{number}1a2b" for number in range(COLOURS)]
PALETTE = {
    "light": {
        "text": "#1f2328",
        "faint": "#c9d0d8",
        "paper": "#ffffff",
        "series": ("#0b62a8", "#c2410c", "#0f7b55", "#9333a8", "#a16207", "#0e7490", "#be123c", "#57606a"),
    },
    "dark": {
        "text": "#e6edf3",
        "faint": "#3d444d",
        "paper": "#0f141a",
        "series": ("#5eb1f0", "#f59e5b", "#4ecb9a", "#d08be0", "#e0bc4f", "#4fc8de", "#fb7f92", "#9aa4af"),
    },
}
"""The colours of each theme, which are told apart by people who see red and green alike; markers and dashes differ too."""
RC: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "domain-masks",
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.labelsize": 9,
    "font.family": "sans-serif",
    "text.color": _TEXT,
    "axes.labelcolor": _TEXT,
    "axes.titlecolor": _TEXT,
    "xtick.labelcolor": _TEXT,
    "ytick.labelcolor": _TEXT,
    "xtick.color": _FAINT,
    "ytick.color": _FAINT,
    "axes.edgecolor": _FAINT,
    "grid.color": _FAINT,
    "grid.linewidth": 0.6,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.5,
    "text.parse_math": False,
    "axes.unicode_minus": True,
}


@lru_cache(maxsize=512)
def panel_svg(panel: Panel, label: str) -> str:
    """Return one panel as an ``<svg>`` element for a page that defines the colours; ``label`` is read out in its place."""
    return _inline(_drawn(panel), label)


def sheet_svg(figure: Figure) -> str:
    """Return all panels and the legend as one SVG file that brings the colours of both themes along."""
    columns = min(len(figure.panels), 3)
    rows = -(-len(figure.panels) // columns)
    width, height = 90 * WIDTH, 90 * HEIGHT
    parts, top = _legend(figure, columns * width)
    for place, panel in enumerate(figure.panels):
        x, y = place % columns * width, top + place // columns * height
        inner = panel_svg(panel, f"{figure.title}: {panel.title}")
        parts.append(inner.replace("<svg ", f'<svg x="{x:.0f}" y="{y:.0f}" ', 1))
    style = (
        f"<style>:root{{{variables('light')}}}@media (prefers-color-scheme: dark){{:root{{{variables('dark')}}}}}"
        "text{font-family:system-ui,sans-serif}</style>"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{columns * width:.0f}" height="{rows * height + top:.0f}" '
        f'role="img" aria-label="{escape(_plain(figure.title))}">{style}'
        f'<rect width="100%" height="100%" style="fill:var(--paper)"/>{"".join(parts)}</svg>\n'
    )


def _legend(figure: Figure, width: float) -> tuple[list[str], float]:
    """Return the legend's elements and how high they are; a column of letters is taken for 7 pixels wide."""
    parts: list[str] = []
    x, y = 8.0, 8.0
    for series in figure.legend:
        label = _plain(shortened(series.label, int((width - 60) // 7)))
        needed = 34 + 7 * columns_of(label) + 18
        if x + needed > width and x > 8:
            x, y = 8.0, y + 20
        drawn = swatch(series, figure.panels[0].kind != "lines")
        parts.append(drawn.replace("<svg ", f'<svg x="{x:.0f}" y="{y:.0f}" width="26" height="12" ', 1))
        parts.append(
            f'<text x="{x + 33:.0f}" y="{y + 10:.0f}" style="font-size:12px;fill:var(--text)">{escape(label)}</text>'
        )
        x += needed
    return parts, y + 22 if parts else 0.0


def variables(theme: str) -> str:
    """Return the style sheet's variables of a theme."""
    chosen = PALETTE[theme]
    pairs = [f"--{name}:{chosen[name]}" for name in ("text", "faint", "paper")]
    pairs += [f"--series-{number}:{colour}" for number, colour in enumerate(chosen["series"])]
    return ";".join(pairs)


def swatch(series: Series, bars: bool) -> str:
    """Return a small SVG of a series' line or colour, for a legend in HTML."""
    colour = f"var(--series-{series.colour % COLOURS})"
    if bars:
        return (
            '<svg class="swatch" viewBox="0 0 26 12" aria-hidden="true">'
            f'<rect x="5" y="1" width="14" height="10" fill="{colour}"/></svg>'
        )
    dash = DASHES[_dash(series)]
    pattern = "" if isinstance(dash, str) else f' stroke-dasharray="{" ".join(str(part) for part in dash[1])}"'
    width = 3 if series.is_mean else 2
    return (
        f'<svg class="swatch" viewBox="0 0 26 12" aria-hidden="true"><line x1="0" x2="26" y1="6" y2="6" stroke="{colour}" '
        f'stroke-width="{width}"{pattern}/><circle cx="13" cy="6" r="3" fill="{colour}"/></svg>'
    )


def _drawn(panel: Panel) -> str:
    """Return matplotlib's SVG of one panel."""
    import matplotlib as mpl  # noqa: PLC0415 - takes a second, which only a report needs
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure as Canvas  # noqa: PLC0415

    with mpl.rc_context(RC):
        canvas = Canvas(figsize=(WIDTH, HEIGHT))
        FigureCanvasAgg(canvas)  # which measures; what is written is SVG
        axes = canvas.add_subplot()
        # The same margins in panels that stand beside each other, unless what stands at an axis needs more.
        canvas.subplots_adjust(left=0.175, right=0.975, top=0.9, bottom=0.19)
        _draw(axes, panel)
        _make_room(canvas, axes)
        canvas.patch.set_alpha(0)
        axes.patch.set_alpha(0)
        out = io.StringIO()
        with warnings.catch_warnings():
            # Letters that matplotlib's own font lacks: the reader's browser has others.
            warnings.filterwarnings("ignore", message="Glyph")
            canvas.savefig(out, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return out.getvalue()


def _make_room(canvas: Any, axes: Axes) -> None:
    """Widen the margins of the left and the bottom until the numbers and names along the axes fit; at most to a half."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")
        renderer = canvas.canvas.get_renderer()
        # A wider margin moves what stands along the other axis as well, by less than itself.
        for _ in range(4):
            canvas.draw_without_rendering()
            boxes = [box for axis in (axes.xaxis, axes.yaxis) if (box := axis.get_tightbbox(renderer)) is not None]
            sides = (("left", "x0", canvas.bbox.width), ("bottom", "y0", canvas.bbox.height))
            lacking = {side: (_EDGE - min(getattr(box, edge) for box in boxes)) / size for side, edge, size in sides}
            if max(lacking.values()) <= 0.001:
                break
            now = canvas.subplotpars
            canvas.subplots_adjust(
                **{side: min(0.5, getattr(now, side) + max(0, more)) for side, more in lacking.items()}
            )


def _draw(axes: Axes, panel: Panel) -> None:
    axes.set_title(_plain(panel.title), loc="left")
    axes.set_xlabel(_plain(panel.x_label))
    axes.set_ylabel(_plain(panel.y_label))
    if panel.diagonal:
        axes.plot([0, 1], [0, 1], color=_FAINT, linewidth=1, linestyle="dashed")
    if panel.kind == "lines":
        for series in panel.series:
            _line(axes, series)
    else:
        _bars(axes, panel)
    if panel.ticks:
        labels = [_plain(shortened(label)) for _, label in panel.ticks]
        slanted: dict[str, Any] = (
            {"rotation": 25, "ha": "right", "rotation_mode": "anchor"} if _is_slanted(panel) else {}
        )
        axes.set_xticks([position for position, _ in panel.ticks], labels, **slanted)
    else:
        axes.xaxis.set_major_locator(_locator(panel))
    axes.set_ylim(*panel.limits)
    axes.tick_params(length=3)


def _is_slanted(panel: Panel) -> bool:
    """Whether the labels along the x axis are too long to stand side by side."""
    return sum(len(label) for _, label in panel.ticks) > MOST_LETTERS


def _locator(panel: Panel) -> Any:
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415

    return MaxNLocator(nbins=6, integer=panel.x_label == "epoch", min_n_ticks=1)


def _line(axes: Axes, series: Series) -> None:
    spreads = series.spread or [None] * len(series.x)
    known = [point for point in zip(series.x, series.y, spreads, strict=True) if point[1] is not None]
    x, y = [point[0] for point in known], [float(point[1] or 0.0) for point in known]
    colour = _SERIES[series.colour % COLOURS]
    axes.plot(
        x,
        y,
        color=colour,
        linestyle=DASHES[_dash(series)],
        marker=MARKERS[series.colour % len(MARKERS)] if len(x) <= MOST_MARKERS else None,
        linewidth=2.8 if series.is_mean else 1.5,
        clip_on=False,
    )
    spread = [point[2] or 0.0 for point in known]
    if any(spread):
        low = [value - part for value, part in zip(y, spread, strict=True)]
        high = [value + part for value, part in zip(y, spread, strict=True)]
        axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)


def _bars(axes: Axes, panel: Panel) -> None:
    is_stacked = panel.kind == "stacked"
    count = 1 if is_stacked else max(len(panel.series), 1)
    width = (0.62 if is_stacked else 0.8) / count
    below: dict[float, float] = {}
    for number, series in enumerate(panel.series):
        heights = [value or 0.0 for value in series.y]
        offset = 0.0 if is_stacked else (number - (count - 1) / 2) * width
        bottom = [below.get(x, 0.0) if is_stacked else 0.0 for x in series.x]
        places = [x + offset for x in series.x]
        colour = _SERIES[series.colour % COLOURS]
        hatch = "///" if series.colour >= COLOURS else None
        axes.bar(places, heights, width * 0.94, bottom=bottom, color=colour, hatch=hatch, edgecolor=_FAINT, linewidth=0)
        below |= {x: low + height for x, low, height in zip(series.x, bottom, heights, strict=True)}


def _plain(text: str) -> str:
    """Return text without what no SVG may hold."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _dash(series: Series) -> int:
    return 0 if series.is_mean else series.colour % len(DASHES)


def _inline(text: str, label: str) -> str:
    """Return matplotlib's SVG as one element: colours are the page's variables, ids its own, styles none that leak."""
    body = text[text.index("<svg") :].strip()
    body = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->|<style.*?</style>", "", body, flags=re.DOTALL)
    head, rest = body.split(">", 1)
    width, height = _size(head)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="{1.25 * width:.0f}" '
        f'height="{1.25 * height:.0f}" viewBox="0 0 {width:.2f} {height:.2f}" role="img" aria-label="{escape(_plain(label))}" '
        'stroke-linejoin="round"'
    )
    names = [(_TEXT, "text"), (_FAINT, "faint"), *((colour, f"series-{n}") for n, colour in enumerate(_SERIES))]
    for marker, name in names:
        rest = rest.replace(marker, f"var(--{name})")
    rest = re.sub(r"font-family: [^;\"]*;? ?", "", rest)
    return f"{head}>{_with_own_ids(rest)}"


def _with_own_ids(text: str) -> str:
    """Return an SVG's content whose ids occur in no other: those that nothing refers to are left out."""
    own = f"p{zlib.crc32(as_bytes(text)):08x}-"
    used = set(re.findall(r"#(\w+)", text))
    text = re.sub(r' id="([^"]*)"', lambda found: f' id="{own}{found[1]}"' if found[1] in used else "", text)
    return re.sub(r'(href="|url\()#(\w+)', rf"\1#{own}\2", text)


def _size(head: str) -> tuple[float, float]:
    """Return width and height in points from the view box."""
    found = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', head)
    if found is None:
        return 72 * WIDTH, 72 * HEIGHT
    return float(found[1]), float(found[2])
