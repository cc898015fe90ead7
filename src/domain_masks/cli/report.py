"""``dmg report``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, StrictBool, ValidationError

from domain_masks.cli.flags import (
    Parser,
    add_config,
    add_output,
    completed_by,
    own_settings,
    parser_for,
    reporter_for,
    say,
)
from domain_masks.errors import InputError, combine_errors, unknown
from domain_masks.records.counts import counted
from domain_masks.records.setting_types import Folder, PlaceText
from domain_masks.records.validation import describe_mistakes

if TYPE_CHECKING:
    from domain_masks.records.collection import Collection

SOURCE_VALIDATION = "source-validation"


def parser() -> Parser:
    """Return the parser of ``dmg report``."""
    parser = parser_for(
        "report",
        "Writes an HTML page about one or many runs, with the paper's numbers where they may stand beside them; "
        "for folders of runs "
        "also Markdown, LaTeX and CSV. Records that cannot be used are named and left out (exit status 1).",
        """
        dmg report runs/sketch
        dmg report runs/pacs
        dmg report runs/pacs runs/overlap-* --out reports/pacs --select oracle
        """,
    )
    runs = parser.add_argument(
        "runs", nargs="*", metavar="DIR", help="run folders, or folders with runs anywhere below"
    )
    completed_by(runs, folders=True)
    out = parser.add_argument(
        "--out", metavar="DIR", help="folder of the report (default: DIR/report; RUN/report.html for one run folder)"
    )
    completed_by(out, folders=True)
    select = parser.add_argument(
        "--select",
        metavar="RULE",
        help="what chooses between settings of a method: source-validation, leave-one-domain-out, or oracle, "
        "which looks at the "
        "held-out domain and is marked in red (default: source-validation)",
    )
    completed_by(select, words=("source-validation", "leave-one-domain-out", "oracle"))
    parser.add_argument("--no_gallery", action="store_true", default=None, help="leave images out of the page")
    add_config(parser, "a YAML with runs, select, out and gallery; flags win over it")
    add_output(parser)
    return parser


def main(arguments: Sequence[str]) -> int:
    """Write the report of some runs."""
    flags = parser().parse(arguments)
    reporter = reporter_for(flags)
    settings = _settings(flags)

    from domain_masks.evaluation import SELECTION_RULES  # noqa: PLC0415
    from domain_masks.records.collection import collect  # noqa: PLC0415

    if settings.select not in SELECTION_RULES:
        raise unknown("selection rule", settings.select, SELECTION_RULES)
    paths = [Path(path) for path in settings.runs]
    collection = collect(paths)
    found = len(collection.runs) + len(collection.skipped) + len(collection.failed) + len(collection.unfinished)
    if not found:
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


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class _Settings(BaseModel):
    """What ``dmg report`` needs to know."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    runs: Annotated[list[PlaceText], BeforeValidator(_as_list)]
    select: PlaceText = SOURCE_VALIDATION
    out: Folder | None = None
    gallery: StrictBool = True


def _settings(flags: argparse.Namespace) -> _Settings:
    """Return the flags over what ``--config`` says; raises InputError that lists everything wrong in it."""
    values = own_settings(flags)
    if values.pop("no_gallery", False):
        values["gallery"] = False
    if not values.get("runs"):
        raise InputError("expected at least one DIR, a run folder or a folder with runs. See `dmg report --help`")
    try:
        return _Settings.model_validate(values)
    except ValidationError as error:
        raise combine_errors(describe_mistakes(error, list(_Settings.model_fields))) from error


def _place(paths: Sequence[Path], out: Path | None, collection: Collection) -> tuple[Path, bool]:
    """Return where the page goes, and whether it is the page of one run folder, in which nothing else is written."""
    is_run = len(paths) == 1 and [record.folder.path for record in collection.runs] == [paths[0]]
    if out is not None:
        return out / "report.html", False
    if is_run:
        return collection.runs[0].folder.report, True
    return paths[0] / "report" / "report.html", False
