"""The report as a tree of sections, independent of the output format."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from domain_masks.report.figures.plots import Plot
from domain_masks.report.tables.table import Table

_CODE = re.compile(r"`((?:dmg |--)[^`]+)`")
"""A command or a flag within a sentence; other text between backticks, such as a user's names, does not match."""


def code_parts(text: str) -> list[tuple[str, bool]]:
    """Split a sentence into parts, each with whether it is a command or a flag between backticks."""
    parts = _CODE.split(text)
    return [(part, place % 2 == 1) for place, part in enumerate(parts) if part]


@dataclass(frozen=True)
class Paragraph:
    """A paragraph, with ``items`` as a list below it; ``tone`` is "", "note" or "warning"."""

    text: str
    items: Sequence[str] = field(default=())
    tone: str = ""


@dataclass(frozen=True)
class GalleryImage:
    """One image of a gallery: its file, its caption, and the votes of the single masks."""

    path: Path
    title: str
    caption: str
    votes: Sequence[tuple[str, str]] = field(default=())
    is_wrong: bool = False


@dataclass(frozen=True)
class Gallery:
    """Images under one title; only the HTML page shows them, embedded."""

    title: str
    images: Sequence[GalleryImage]


@dataclass(frozen=True)
class ImageRow:
    """A row of images: a title, a line of detail, and an image, or None, for each column."""

    title: str
    detail: str
    images: Sequence[GalleryImage | None]


@dataclass(frozen=True)
class ImageTable:
    """Images in rows and columns; only the HTML page shows them, embedded. ``columns``: of the images, may be empty."""

    title: str
    columns: Sequence[str]
    rows: Sequence[ImageRow]
    caption: str = ""


@dataclass(frozen=True)
class KeyValues:
    """Pairs of names and values, such as settings."""

    pairs: Sequence[tuple[str, str]]


@dataclass(frozen=True, eq=False)
class Section:
    """A title and the blocks below it.

    - ``anchor``: unique in the report
    - ``folded``: whether it is collapsed at first
    """

    title: str
    anchor: str
    blocks: Sequence[Block] = field(default=())
    folded: bool = False


@dataclass(frozen=True)
class Highlight:
    """A number for the top of the page, its meaning and uncertainty; ``oracle``: labels of the held-out domain were used."""

    number: str
    what: str
    sure: str = ""
    oracle: bool = False


Block = Paragraph | KeyValues | Table | Plot | Gallery | ImageTable | Section


@dataclass(frozen=True, eq=False)
class Report:
    """The whole report.

    - ``highlights``: shown at the top of the page
    - ``warnings``: what could not be used, one sentence each
    """

    title: str
    subtitle: str
    highlights: Sequence[Highlight]
    sections: Sequence[Section]
    warnings: Sequence[str] = field(default=())

    @property
    def tables(self) -> list[Table]:
        """All tables, in order."""
        return [block for block in _walk(self.sections) if isinstance(block, Table)]

    @property
    def figures(self) -> list[Plot]:
        """All figures, in order."""
        return [block for block in _walk(self.sections) if isinstance(block, Plot)]


def _walk(blocks: Sequence[Block]) -> list[Block]:
    walked: list[Block] = []
    for block in blocks:
        walked.append(block)
        if isinstance(block, Section):
            walked += _walk(block.blocks)
    return walked
