"""The report as GitHub-flavoured Markdown, with figures in separate files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from domain_masks.report.document import Block, Gallery, ImageTable, KeyValues, Paragraph, Report, Section, code_parts
from domain_masks.report.figures.plots import Plot
from domain_masks.report.tables.table import Cell, Table

FIGURES = "figures"
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|#~$&])")
_MARKER = re.compile(r"^(\d*)([.)+-])(?=\s|$)")
"""Text that would start a nested list."""
_ORACLE = r"$\color{red}{\textsf{oracle}}$"


def to_markdown(report: Report) -> str:
    """Return the report as Markdown, with images in ``figures/``; galleries are omitted."""
    lines = [f"# {escaped(report.title)}", "", escaped(report.subtitle), ""]
    for highlight in report.highlights:
        mark = f" {_ORACLE}" if highlight.oracle else ""
        sure = f" ({escaped(highlight.sure)})" if highlight.sure else ""
        lines.append(f"- **{escaped(highlight.number)}** {escaped(highlight.what)}{mark}{sure}")
    if report.warnings:
        lines += ["", "> Not everything could be used:", *(f"> - {prose(line)}" for line in report.warnings)]
    lines.append("")
    for section in report.sections:
        lines += _section(section, 2)
    return "\n".join(lines).rstrip() + "\n"


def table_lines(table: Table) -> list[str]:
    """Return the lines of a table and its notes."""
    heads = [
        "<br>".join(escaped(part) for part in (column.title, column.detail) if part) or " " for column in table.columns
    ]
    lines = [_row(heads), _row(["---:" if column.is_number else "---" for column in table.columns])]
    lines += [_row([_cell(cell) for cell in row]) for row in table.rows]
    return [*lines, "", *(f"{prose(note)}  " for note in table.notes), ""]


def escaped(text: str, on_one_line: bool = True) -> str:
    """Return text escaped for Markdown; ``on_one_line`` also collapses and strips whitespace."""
    plain = _SPECIAL.sub(r"\\\1", " ".join(text.split()) if on_one_line else text)
    return _MARKER.sub(r"\1\\\2", plain)


def prose(text: str) -> str:
    """Return sentences escaped for Markdown, with commands and flags as code."""
    return "".join(
        f"`{part}`" if is_code else escaped(part, False) for part, is_code in code_parts(" ".join(text.split()))
    )


def _section(section: Section, level: int) -> Iterator[str]:
    yield f"{'#' * min(level, 6)} {escaped(section.title)}"
    yield ""
    yield from _blocks(section.blocks, level + 1)


def _blocks(blocks: Sequence[Block], level: int) -> Iterator[str]:
    for block in blocks:
        match block:
            case Section():
                yield from _section(block, level)
            case Paragraph():
                quote = "> " if block.tone else ""
                yield quote + prose(block.text)
                yield from (f"{quote}- {prose(item)}" if quote else f"- {prose(item)}" for item in block.items)
                yield ""
            case KeyValues():
                yield from (f"- {escaped(name)}: {escaped(value)}" for name, value in block.pairs)
                yield ""
            case Table():
                yield from (f"{'#' * min(level, 6)} {escaped(block.title)}", "", *table_lines(block))
            case Plot():
                yield from (f"{'#' * min(level, 6)} {escaped(block.title)}", "")
                yield from (f"![{escaped(block.title)}]({FIGURES}/{block.name}.svg)", "", prose(block.caption), "")
            case Gallery() | ImageTable():
                continue


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(cell: Cell) -> str:
    text, detail = escaped(cell.text), escaped(cell.detail)
    if cell.mark == "oracle":
        text = _ORACLE.join(text.split("oracle")) if "oracle" in text else text
        detail = _ORACLE.join(detail.split("oracle"))
        text = text if "oracle" in cell.text or "oracle" in cell.detail else f"{text} {_ORACLE}"
    elif cell.mark == "best":
        text = f"**{text}**"
    elif cell.mark == "paper":
        text = f"*{text}*"
    return f"{text}<br>{detail}" if detail else text
