"""Write a report and its files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from domain_masks.errors import RunFolderError
from domain_masks.keywords import named_keywords
from domain_masks.records.files import as_bytes, write_whole
from domain_masks.report.document import Report
from domain_masks.report.figures.svg import plot_svg
from domain_masks.report.tables.table import frame_text
from domain_masks.report.write.latex import to_latex
from domain_masks.report.write.markdown import FIGURES, to_markdown
from domain_masks.report.write.page import Embedding, render_page

TABLES = "tables"


@dataclass(frozen=True)
class Written:
    """The files of a written report.

    - ``page``, ``size``: the HTML file and its size in bytes
    - ``files``: all other files
    - ``left_out``: number of images beyond the size limit of the page
    - ``unreadable``: images that could not be read
    """

    page: Path
    size: int
    files: tuple[Path, ...]
    left_out: int
    unreadable: tuple[Path, ...]


@named_keywords
def write_report(report: Report, page: Path, beside: bool = True) -> Written:
    """Write the page, and with ``beside`` also Markdown, tables (CSV, LaTeX) and figures (SVG), each atomically.

    Equal records give equal files, except for figures of another matplotlib version. Raises RunFolderError if a file cannot
    be written.
    """
    if page.is_dir():
        raise RunFolderError(f"{page} is a folder: expected the path of an HTML file. Give another one with --out")
    embedding = Embedding()
    text = render_page(report, embedding)
    write_whole(page, text)
    others = list(_write_others(report, page.parent)) if beside else []
    return Written(page, len(as_bytes(text)), tuple(others), embedding.left_out, tuple(embedding.unreadable))


def _write_others(report: Report, folder: Path) -> Iterable[Path]:
    names: dict[str, int] = {}
    for table in report.tables:
        names[table.name] = names.get(table.name, 0) + 1
        stem = table.name if names[table.name] == 1 else f"{table.name}-{names[table.name]}"
        for suffix, content in ((".csv", frame_text(table.frame)), (".tex", to_latex(table))):
            yield _write(folder / TABLES / f"{stem}{suffix}", content)
    for figure in report.figures:
        yield _write(folder / FIGURES / f"{figure.name}.svg", plot_svg(figure))
    yield _write(folder / "report.md", to_markdown(report))


def _write(path: Path, content: str) -> Path:
    write_whole(path, content)
    return path
