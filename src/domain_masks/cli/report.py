"""``dmg report``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domain_masks.cli.flags import Parser, add_config, add_output, completed_by, parser_for, reporter_for, say
from domain_masks.errors import InputError, nearest, together, unknown
from domain_masks.records.config import read_config

if TYPE_CHECKING:
    from domain_masks.records.collection import Collection

_KINDS: dict[str, tuple[type, str]] = {
    "runs": (list, "a folder or a list of folders"),
    "select": (str, "the name of a rule"),
    "out": (str, "a folder"),
    "gallery": (bool, "true or false"),
}


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
    parser.add_argument("--no_gallery", action="store_true", default=None, help="leave pictures out of the page")
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
    reporter.say(f"{len(collection.runs)} runs, settings chosen by {settings.select}")

    from domain_masks.report import build_report, write_report  # noqa: PLC0415

    report = build_report(collection, settings.select, settings.gallery)
    written = write_report(report, page, beside=not is_run)
    for line in report.warnings:
        reporter.say(f"note: {line}")
    if written.left_out:
        reporter.say(f"note: {written.left_out} pictures did not fit into the page")
    if written.unreadable:
        reporter.say(f"note: {len(written.unreadable)} pictures are not there, such as {written.unreadable[0]}")
    for entry in collection.failed:
        say(f"failed: {entry}")
    for entry in collection.skipped:
        say(f"skipped: {entry}")
    beside = f", and {len(written.files)} files beside it" if written.files else ""
    say(f"report: {written.page} ({written.size / 1e6:.1f} MB{beside})")
    return 1 if collection.failed or collection.skipped else 0


@dataclass(frozen=True)
class _Settings:
    runs: list[str]
    select: str
    out: str | None
    gallery: bool


def _settings(flags: argparse.Namespace) -> _Settings:
    """Return the flags over what ``--config`` says; raises InputError that lists everything wrong in it."""
    values: dict[str, Any] = read_config(Path(flags.config)) if flags.config is not None else {}
    mistakes = []
    for name in values:
        if name not in _KINDS:
            guess = nearest(name, _KINDS)
            mistakes.append(f"{name}: there is no such setting" + (f": did you mean {guess}?" if guess else ""))
    runs = values.get("runs", [])
    runs = [runs] if isinstance(runs, str) else runs
    given: dict[str, Any] = {"runs": runs, **{name: values.get(name) for name in ("select", "out", "gallery")}}
    for name, (kind, expected) in _KINDS.items():
        value = given[name]
        listed_wrongly = (
            name == "runs" and isinstance(value, list) and not all(isinstance(entry, str) for entry in value)
        )
        if (value is not None and not isinstance(value, kind)) or listed_wrongly:
            mistakes.append(f"{name}: expected {expected}, got {value!r}")
    if mistakes:
        raise together(mistakes)
    found = flags.runs or given["runs"]
    if not found:
        raise InputError("expected at least one DIR, a run folder or a folder with runs. See `dmg report --help`")
    out = flags.out if flags.out is not None else given["out"]
    if out == "":
        raise InputError("--out: expected a folder")
    gallery = not flags.no_gallery if flags.no_gallery is not None else given["gallery"] is not False
    return _Settings(found, flags.select or given["select"] or "source-validation", out, gallery)


def _place(paths: Sequence[Path], out: str | None, collection: Collection) -> tuple[Path, bool]:
    """Return where the page goes, and whether it is the page of one run folder, in which nothing else is written."""
    is_run = len(paths) == 1 and [record.folder.path for record in collection.runs] == [paths[0]]
    if out is not None:
        return Path(out) / "report.html", False
    if is_run:
        return collection.runs[0].folder.report, True
    return paths[0] / "report" / "report.html", False
