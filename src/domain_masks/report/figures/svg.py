"""Figures as SVG with selectable text and CSS colours, so that one drawing serves the light and the dark theme."""

from __future__ import annotations

import io
import re
import zlib
from functools import lru_cache
from html import escape

from matplotlib.figure import Figure

from domain_masks.records.files import as_bytes, printable
from domain_masks.report.figures.drawing import dashes_of, drawn_panel, drawn_plot, marker_of, styled
from domain_masks.report.figures.palette import DARK, LIGHT, PLACEHOLDERS
from domain_masks.report.figures.plots import Panel, Plot, Series


@lru_cache(maxsize=512)
def panel_svg(panel: Panel, label: str) -> str:
    """Return one panel as an ``<svg>`` element for a page that defines the colours; ``label`` is its accessible name."""
    with styled(PLACEHOLDERS):
        return _element(drawn_panel(panel, PLACEHOLDERS), label)


def plot_svg(plot: Plot) -> str:
    """Return all panels and the legend as one SVG file that includes the colours of both themes."""
    with styled(PLACEHOLDERS):
        drawn = _element(drawn_plot(plot, PLACEHOLDERS), plot.title)
    style = (
        f"<style>:root{{{LIGHT.css}}}@media (prefers-color-scheme: dark){{:root{{{DARK.css}}}}}"
        "text{font-family:system-ui,sans-serif}</style>"
        '<rect width="100%" height="100%" style="fill:var(--paper)"/>'
    )
    return drawn.replace(">", f">{style}", 1) + "\n"


_POINTS = {
    "o": '<circle cx="13" cy="6" r="4.5" fill="{}"/>',
    "s": '<rect x="9" y="2" width="8" height="8" fill="{}"/>',
    "D": '<path d="M13 0l6 6-6 6-6-6z" fill="{}"/>',
}


def swatch(series: Series) -> str:
    """Return a small SVG of a series' line or colour, for a legend in HTML."""
    colour = f"var(--series-{series.colour % len(LIGHT.series)})"
    if series.kind in ("bars", "stacked"):
        shape = f'<rect x="5" y="1" width="14" height="10" fill="{colour}"/>'
    elif series.kind == "points":
        shape = _POINTS.get(marker_of(series), _POINTS["D"]).format(colour)
    else:
        dashes = dashes_of(series)
        pattern = "" if isinstance(dashes, str) else f' stroke-dasharray="{" ".join(map(str, dashes[1]))}"'
        width = 3 if series.is_mean else 2
        shape = f'<line x1="0" x2="26" y1="6" y2="6" stroke="{colour}" stroke-width="{width}"{pattern}/>'
        shape += f'<circle cx="13" cy="6" r="3" fill="{colour}"/>' if series.kind == "line" else ""
    return f'<svg class="swatch" viewBox="0 0 26 12" aria-hidden="true">{shape}</svg>'


def _element(drawn: Figure, label: str) -> str:
    """Return a figure as one element with CSS variables as colours, unique ids and no global styles."""
    drawn.patch.set_alpha(0)
    out = io.StringIO()
    drawn.savefig(out, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    text = out.getvalue()
    body = re.sub(
        r"<metadata>.*?</metadata>|<!--.*?-->|<style.*?</style>", "", text[text.index("<svg") :], flags=re.DOTALL
    )
    width, height = (72 * inches for inches in drawn.get_size_inches())
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="{1.25 * width:.0f}" '
        f'height="{1.25 * height:.0f}" viewBox="0 0 {width:.2f} {height:.2f}" role="img" '
        f'aria-label="{escape(printable(label))}" stroke-linejoin="round">'
    )
    rest = body.strip().split(">", 1)[1]
    for name, colour in PLACEHOLDERS.variables.items():
        rest = rest.replace(colour, f"var(--{name})")
    return head + _with_own_ids(re.sub(r"font-family: [^;\"]*;? ?", "", rest))


def _with_own_ids(text: str) -> str:
    """Return an SVG's content with unique ids; unreferenced ids are removed."""
    prefix = f"p{zlib.crc32(as_bytes(text)):08x}-"
    used = set(re.findall(r"#(\w+)", text))
    text = re.sub(r' id="([^"]*)"', lambda match: f' id="{prefix}{match[1]}"' if match[1] in used else "", text)
    return re.sub(r'(href="|url\()#(\w+)', rf"\1#{prefix}\2", text)
