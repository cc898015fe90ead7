"""The report as a tree of sections, whatever it will be written as."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from domain_masks.report.figures.plots import Plot
from domain_masks.report.tables.table import Table

_CODE = re.compile(r"`((?:dmg |--)[^`]+)`")
"""A command or a flag within a sentence; names of users that hold such marks are not taken for one."""


def code_parts(text: str) -> list[tuple[str, bool]]:
    """Return a sentence in parts, each with whether it is a command or a flag, which stand between grave accents."""
    parts = _CODE.split(text)
    return [(part, place % 2 == 1) for place, part in enumerate(parts) if part]


@dataclass(frozen=True)
class Paragraph:
    """A paragraph, or with ``items`` a list below it; ``tone`` "note" is set apart, "warning" more so."""

    text: str
    items: Sequence[str] = field(default=())
    tone: str = ""


@dataclass(frozen=True)
class GalleryImage:
    """One image of a gallery: its file, what is said below it, and the votes of the single masks."""

    path: Path
    title: str
    caption: str
    votes: Sequence[tuple[str, str]] = field(default=())
    is_wrong: bool = False


@dataclass(frozen=True)
class Gallery:
    """Images under one title; they are embedded in the page and left out of everything else."""

    title: str
    images: Sequence[GalleryImage]


@dataclass(frozen=True)
class KeyValues:
    """Names and what they are, such as settings."""

    pairs: Sequence[tuple[str, str]]


@dataclass(frozen=True, eq=False)
class Section:
    """A title and what stands below it.

    - ``anchor``: unique in the report
    - ``folded``: shown when asked for
    """

    title: str
    anchor: str
    blocks: Sequence[Block] = field(default=())
    folded: bool = False


@dataclass(frozen=True)
class Highlight:
    """A number for the top of the page: what it is, how sure, and whether labels of the held-out domain took part."""

    number: str
    what: str
    sure: str = ""
    oracle: bool = False


Block = Paragraph | KeyValues | Table | Plot | Gallery | Section


@dataclass(frozen=True, eq=False)
class Report:
    """The whole report.

    - ``title``, ``subtitle``: what it is about
    - ``highlights``: for the top of the page
    - ``warnings``: what could not be used, a sentence each
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
    found: list[Block] = []
    for block in blocks:
        found.append(block)
        if isinstance(block, Section):
            found += _walk(block.blocks)
    return found
