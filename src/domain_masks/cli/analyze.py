"""``dmg analyze``."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from domain_masks.cli.flags import Parser, add_config, add_output, completed_by, parser_for, reporter_for, say
from domain_masks.errors import DomainMasksError, InputError, RunFolderError

if TYPE_CHECKING:
    from domain_masks.progress import Reporter
    from domain_masks.records.collection import Collection, RunRecord

DEFAULT_IMAGES = 500


def parser() -> Parser:
    """Return the parser of ``dmg analyze``."""
    parser = parser_for(
        "analyze",
        "Shows what the masks of finished runs learned: every mask on every domain, how much the masks overlap, which "
        "source each image is most like, an ablation of units, calibration, confusion, galleries. "
        "Writes analysis.json, and figures and tables into figures/, into each run's folder.",
        """
        dmg analyze runs/sketch
        dmg analyze runs/pacs                     # every run below a folder
        dmg analyze runs/sketch --images 2000   # zero units on more images
        dmg analyze runs/sketch --no_images     # from the records alone, in seconds
        """,
    )
    completed_by(
        parser.add_argument("runs", metavar="RUN|DIR", nargs="+", help="run folders, or folders with runs below"),
        folders=True,
    )
    add_config(parser, "settings in YAML that say where the dataset lies, in place of each run's own")
    completed_by(
        parser.add_argument("--dataset", metavar="NAME|DIR|MANIFEST", help="the dataset, where it has moved"),
        folders=True,
    )
    completed_by(parser.add_argument("--root", metavar="DIR", help="where the dataset lies now"), folders=True)
    parser.add_argument(
        "--images",
        metavar="N|all",
        default=str(DEFAULT_IMAGES),
        help=f"zero units on about so many images, a sample of all domains (default: {DEFAULT_IMAGES})",
    )
    parser.add_argument("--no_model", action="store_true", help="leave out what needs the model: the ablation")
    parser.add_argument(
        "--no_images", action="store_true", help="leave out what needs images: that, and thumbnails in galleries"
    )
    device = parser.add_argument("--device", metavar="auto|cpu|cuda", help="where to compute (default: auto)")
    completed_by(device, words=("auto", "cpu", "cuda"))
    add_output(parser)
    return parser


def main(arguments: Sequence[str]) -> int:
    """Analyze every run; one that cannot be is named and stops nobody."""
    flags = parser().parse(arguments)
    images = _images(flags.images)
    changes = _changes(flags)

    from domain_masks.records.collection import collect  # noqa: PLC0415

    found = collect(flags.runs)
    reporter = reporter_for(flags)
    problems = [*found.skipped, *found.failed]
    if not found.runs:
        raise RunFolderError(_nothing(flags.runs, found))
    for problem in problems:
        reporter.say(f"{problem.path} is left out: {problem.reason}")
    if "dataset" in changes or "root" in changes:
        _require_dataset(found.runs, changes)
    for path in found.unfinished:
        reporter.say(f"{path} is left out: it is not finished")
    failed = [_shown(record, flags, changes, images, reporter, len(found.runs) > 1) for record in found.runs].count(
        False
    )
    return 1 if failed or problems else 0


def _images(text: str) -> int | None:
    """Return how many images are asked for, None for all."""
    if text == "all":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise InputError(f"--images: expected a whole number from 1, or all, got {text!r}")
    return int(text)


def _nothing(paths: Sequence[str], found: Collection) -> str:
    """Say why there is nothing to analyze."""
    reasons = [f"{entry.path}: {entry.reason}" for entry in (*found.skipped, *found.failed)]
    reasons += [f"{path}: not finished; go on with `dmg train --resume --out {path}`" for path in found.unfinished]
    if not reasons:
        return (
            f"no run at or below {', '.join(paths)}: expected a folder that `dmg train` or `dmg benchmark` has written"
        )
    return "no run that can be analyzed:\n" + "\n".join(f"  {reason}" for reason in reasons)


def _require_dataset(runs: Sequence[RunRecord], changes: Mapping[str, Any]) -> None:
    """Open the dataset where it is said to lie now, before anything heavy is imported; raises InputError."""
    from domain_masks.data import load_dataset  # noqa: PLC0415

    config = {**runs[0].config, **changes}
    load_dataset(str(config["dataset"]), config.get("root"))


def _shown(
    record: RunRecord,
    flags: argparse.Namespace,
    changes: Mapping[str, Any],
    images: int | None,
    reporter: Reporter,
    several: bool,
) -> bool:
    """Analyze one run and print what was found; False where it cannot be, which is said if there are several runs."""
    from domain_masks.analysis import analyze  # noqa: PLC0415
    from domain_masks.report import draw_analysis, summary_lines  # noqa: PLC0415

    path = record.folder.path
    try:
        analyze(
            path,
            changes=changes,
            images=images,
            with_model=not flags.no_model,
            with_images=not flags.no_images,
            reporter=reporter,
        )
        analysis = draw_analysis(path)
    except DomainMasksError as error:
        if not several:
            raise
        reporter.say(f"{path} is left out: {error}")
        return False
    results = record.results
    if several:
        say(f"{path}: {results.method}, held out {', '.join(results.targets) or 'none'}, seed {results.seed}")
    for line in summary_lines(analysis, results.targets):
        say(line)
    drawn = sum(name.endswith(".png") for name in analysis.figures)
    reporter.say(
        f"wrote {record.folder.analysis}, and {drawn} figures and {len(analysis.figures) - drawn} tables beside it"
    )
    if several:
        say("")
    return True


def _changes(flags: argparse.Namespace) -> dict[str, Any]:
    """Return where the dataset lies and where to compute, as far as it was said."""
    from domain_masks.cli.flags import data_settings  # noqa: PLC0415

    settings = data_settings(flags, ("dataset", "root", "device"))
    return {
        name: getattr(settings, name) for name in settings.model_fields_set if name in ("dataset", "root", "device")
    }
