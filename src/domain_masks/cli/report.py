"""``dmg report``."""

from __future__ import annotations

from collections.abc import Sequence

from domain_masks.cli.flags import command_parser, read_command, reporter_for
from domain_masks.cli.parser import Parser
from domain_masks.cli.standard_output import say
from domain_masks.records.counts import counted
from domain_masks.settings.finished_runs import ReportSettings


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

    from domain_masks.calls.report import written  # noqa: PLC0415

    report = written(settings, reporter_for(flags))
    for entry in report.failed:
        say(f"failed: {entry}")
    for entry in report.skipped:
        say(f"skipped: {entry}")
    beside = f", and {counted(len(report.files), 'file')} beside it" if report.files else ""
    say(f"report: {report.page} ({report.size / 1e6:.1f} MB{beside})")
    return 1 if report.failed or report.skipped else 0
