"""The report as one self-contained HTML file; all content from records is escaped."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domain_masks.records.environment import DISTRIBUTION, versions
from domain_masks.report.document import GalleryImage, Report, code_parts
from domain_masks.report.figures.palette import DARK, LIGHT
from domain_masks.report.figures.plots import Panel, Series
from domain_masks.report.figures.svg import panel_svg, swatch

if TYPE_CHECKING:
    from markupsafe import Markup

MOST_IMAGES_BYTES = 12_000_000
"""Limit for the embedded images of one page; further images are omitted and counted."""
_WITHIN_A_NAME = re.compile(r"(?<=\w{3})_(?=\w{3})")
_KINDS = {".jpg": "jpeg", ".jpeg": "jpeg", ".png": "png", ".webp": "webp"}


@dataclass
class Embedding:
    """Embeds images as data URLs, up to a total size.

    - ``left_out``: number of images beyond the limit
    - ``unreadable``: files that are missing or not images
    """

    most_bytes: int = MOST_IMAGES_BYTES
    used: int = 0
    left_out: int = 0
    unreadable: list[Path] = field(default_factory=list)

    def __call__(self, image: GalleryImage) -> str:
        """Return a data URL, or an empty string."""
        kind = _KINDS.get(image.path.suffix.lower())
        try:
            content = image.path.read_bytes() if kind is not None else b""
        except (OSError, ValueError):
            content = b""
        if not content:
            self.unreadable.append(image.path)
            return ""
        text = base64.b64encode(content).decode()
        if self.used + len(text) > self.most_bytes:
            self.left_out += 1
            return ""
        self.used += len(text)
        return f"data:image/{kind};base64,{text}"


def render_page(report: Report, embedding: Embedding | None = None) -> str:
    """Return the HTML page; ``embedding`` embeds the images and records which were left out."""
    from jinja2 import Environment, StrictUndefined  # noqa: PLC0415
    from markupsafe import Markup  # noqa: PLC0415

    environment = Environment(autoescape=True, undefined=StrictUndefined)

    def safe_panel(panel: Panel, label: str) -> Markup:
        # matplotlib and svg.py escape all text.
        return Markup(panel_svg(panel, label))

    def safe_swatch(series: Series) -> Markup:
        return Markup(swatch(series))

    environment.globals |= {
        "panel_svg": safe_panel,
        "swatch": safe_swatch,
        "embedded": embedding or Embedding(),
        "is_words": lambda table: not any(column.is_number for column in table.columns),
        "kind_of": lambda block: type(block).__name__,
    }
    environment.filters["breakable"] = _breakable
    environment.filters["prose"] = _prose
    script = _part("page.js")
    content: dict[str, Any] = {
        "report": report,
        "style": Markup(stylesheet()),
        "script": Markup(script),
        "script_hash": f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}",
        "version": versions().get(DISTRIBUTION, ""),
    }
    return environment.from_string(_part("page.html")).render(content)


def _breakable(text: str) -> Markup:
    """Return escaped text with optional line breaks after underscores in long names."""
    from markupsafe import Markup, escape  # noqa: PLC0415

    return Markup("_<wbr>").join(escape(part) for part in _WITHIN_A_NAME.split(text))


def _prose(text: str) -> Markup:
    """Return an escaped sentence with commands and flags as code."""
    from markupsafe import Markup, escape  # noqa: PLC0415

    parts = (Markup("<code>{}</code>").format(part) if is_code else escape(part) for part, is_code in code_parts(text))
    return Markup("").join(parts)


@cache
def stylesheet() -> str:
    """Return the page's style sheet with the palette of the figures."""
    return _part("page.css").replace("LIGHT", LIGHT.css).replace("DARK", DARK.css)


def _part(name: str) -> str:
    return (files("domain_masks.report.write") / "templates" / name).read_text(encoding="utf-8")
