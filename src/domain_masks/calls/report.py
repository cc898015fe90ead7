"""``dm.report``, and what ``dmg report`` does before it prints."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from domain_masks.calls.described import read_keywords, with_settings_of
from domain_masks.calls.typed_keywords import ReportKeywords
from domain_masks.errors import InputError
from domain_masks.keywords import named_keywords
from domain_masks.records.counts import counted
from domain_masks.records.notebook_html import html_block, html_lines
from domain_masks.settings.finished_runs import ReportSettings

if TYPE_CHECKING:
    from domain_masks import report as parts
    from domain_masks.progress import Reporter
    from domain_masks.records.collection import Collection


@dataclass(frozen=True, repr=False)
class WrittenReport:
    """A report: its page, and the files beside it.

    - ``size``: of the page in bytes
    - ``failed``, ``skipped``: a line for every run that failed or cannot be read
    """

    page: Path
    size: int
    files: tuple[Path, ...] = ()
    failed: tuple[str, ...] = field(default=())
    skipped: tuple[str, ...] = field(default=())

    def __repr__(self) -> str:
        beside = f", and {counted(len(self.files), 'file')} beside it" if self.files else ""
        return f"WrittenReport({self.page}, {self.size / 1e6:.1f} MB{beside})"

    def __fspath__(self) -> str:
        return str(self.page)

    def _repr_html_(self) -> str:
        link = f'<p><a href="{escape(str(self.page), quote=True)}" target="_blank">{escape(str(self.page))}</a></p>'
        return html_block("Report", link, html_lines([f"{self.size / 1e6:.1f} MB", *self.failed, *self.skipped]))


@with_settings_of(ReportKeywords, ReportSettings)
@named_keywords
def report(
    runs: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    quiet: bool = False,
    **settings: Unpack[ReportKeywords],
) -> WrittenReport:
    """Write an HTML page about one or many runs, as ``dmg report`` does.

    - ``runs``: runs, run folders, or folders with runs anywhere below
    - ``quiet``: whether nothing is printed

    The package of the parts has the same name: ``dm.report.build_report`` and others.

    Raises InputError where there is no run or a setting is wrong, RunFolderError where the page cannot be written.
    """
    from domain_masks.progress import ConsoleReporter  # noqa: PLC0415

    return written(read_keywords(ReportSettings, {"runs": runs, **settings}), ConsoleReporter(quiet))


def written(settings: ReportSettings, reporter: Reporter) -> WrittenReport:
    """Write the report of one or many runs."""
    from domain_masks.records.collection import collect  # noqa: PLC0415

    paths = [Path(path) for path in settings.runs]
    collection = collect(paths)
    total = len(collection.runs) + len(collection.skipped) + len(collection.failed) + len(collection.unfinished)
    if not total:
        raise InputError(
            f"no run in or below {', '.join(map(str, paths))}: expected folders that `dmg train` or `dmg benchmark` wrote"
        )
    page, is_run = _place(paths, settings.out, collection)
    reporter.say(f"{counted(len(collection.runs), 'run')}, settings chosen by {settings.select}")

    from domain_masks.report import build_report, write_report  # noqa: PLC0415

    built = build_report(collection, settings.select, settings.gallery)
    files = write_report(built, page, beside=not is_run)
    for line in built.warnings:
        reporter.say(f"note: {line}")
    if files.left_out:
        reporter.say(f"note: {counted(files.left_out, 'image')} did not fit into the page")
    if files.unreadable:
        reporter.say(f"note: {counted(len(files.unreadable), 'image')} cannot be read, such as {files.unreadable[0]}")
    failed, skipped = tuple(map(str, collection.failed)), tuple(map(str, collection.skipped))
    return WrittenReport(files.page, files.size, files.files, failed, skipped)


def _place(paths: Sequence[Path], out: Path | None, collection: Collection) -> tuple[Path, bool]:
    """Return the path of the page, and whether it is the page of one run folder, in which nothing else is written."""
    is_run = len(paths) == 1 and [record.folder.path for record in collection.runs] == [paths[0]]
    if out is not None:
        return out / "report.html", False
    if is_run:
        return collection.runs[0].folder.report, True
    return paths[0] / "report" / "report.html", False


class ReportPackage:
    """The type of ``dm.report``: the package :mod:`domain_masks.report`, which can be called."""

    if TYPE_CHECKING:
        Difference = parts.Difference
        Report = parts.Report
        Written = parts.Written
        build_report = staticmethod(parts.build_report)
        draw_analysis = staticmethod(parts.draw_analysis)
        protocol_match = staticmethod(parts.protocol_match)
        render_page = staticmethod(parts.render_page)
        summary_lines = staticmethod(parts.summary_lines)
        write_report = staticmethod(parts.write_report)

    def __call__(
        self,
        runs: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        *,
        quiet: bool = False,
        **settings: Unpack[ReportKeywords],
    ) -> WrittenReport:
        """Write an HTML page about one or many runs, as ``dmg report`` does; the settings are its flags.

        - ``runs``: runs, run folders, or folders with runs anywhere below
        - ``quiet``: whether nothing is printed
        """
        return report(runs, quiet=quiet, **settings)
