"""``dmg report``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from domain_masks.cli.flags import command_parser, read_command, reporter_for
from domain_masks.cli.parser import Parser
from domain_masks.cli.standard_output import say
from domain_masks.errors import InputError
from domain_masks.records.counts import counted
from domain_masks.settings.finished_runs import ReportSettings

if TYPE_CHECKING:
    from domain_masks.records.collection import Collection


def parser() -> Parser:
    """Return the parser of ``dmg report``."""
    return command_parser(
        "report",
        "Writes an HTML page about one or many runs, beside the paper's numbers where both are comparable; for folders of runs "
        "also Markdown, LaTeX and CSV. Records that cannot be used are named and left out (exit status 1).",
        """
        dmg report runs/sketch
        dmg report runs/pacs
        dmg report runs/pacs runs/overlap-* --out reports/pacs --select oracle
        """,
        ReportSettings,
    )


def main(arguments: Sequence[str]) -> int:
    """Write the report of one or many runs."""
    flags, settings = read_command(parser(), arguments, ReportSettings)
    reporter = reporter_for(flags)

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

    report = build_report(collection, settings.select, settings.gallery)
    written = write_report(report, page, beside=not is_run)
    for line in report.warnings:
        reporter.say(f"note: {line}")
    if written.left_out:
        reporter.say(f"note: {counted(written.left_out, 'image')} did not fit into the page")
    if written.unreadable:
        reporter.say(
            f"note: {counted(len(written.unreadable), 'image')} cannot be read, such as {written.unreadable[0]}"
        )
    for entry in collection.failed:
        say(f"failed: {entry}")
    for entry in collection.skipped:
        say(f"skipped: {entry}")
    beside = f", and {counted(len(written.files), 'file')} beside it" if written.files else ""
    say(f"report: {written.page} ({written.size / 1e6:.1f} MB{beside})")
    return 1 if collection.failed or collection.skipped else 0


def _place(paths: Sequence[Path], out: Path | None, collection: Collection) -> tuple[Path, bool]:
    """Return the path of the page, and whether it is the page of one run folder, in which nothing else is written."""
    is_run = len(paths) == 1 and [record.folder.path for record in collection.runs] == [paths[0]]
    if out is not None:
        return out / "report.html", False
    if is_run:
        return collection.runs[0].folder.report, True
    return paths[0] / "report" / "report.html", False
