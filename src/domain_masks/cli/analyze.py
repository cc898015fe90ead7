"""``dmg analyze``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from domain_masks.cli.flags import command_parser, read_command, reporter_for
from domain_masks.cli.parser import Parser
from domain_masks.cli.standard_output import say
from domain_masks.errors import DomainMasksError, RunFolderError
from domain_masks.settings.finished_runs import AnalyzeSettings

if TYPE_CHECKING:
    from domain_masks.progress import Reporter
    from domain_masks.records.collection import Collection, RunRecord


def parser() -> Parser:
    """Return the parser of ``dmg analyze``."""
    return command_parser(
        "analyze",
        "Analyses what the masks of finished runs learned: accuracy of every mask on every domain, overlap of the masks, "
        "nearest source of each image, ablation of units, calibration, confusion matrices, galleries. Writes analysis.json, "
        "and figures and tables into figures/, in each run's folder.",
        """
        dmg analyze runs/sketch
        dmg analyze runs/pacs                   # every run below a folder
        dmg analyze runs/sketch --images 2000   # ablation on more images
        dmg analyze runs/sketch --no_images     # only from the records, in seconds
        """,
        AnalyzeSettings,
        config="settings in YAML, also those of a run: where the dataset lies now, and the flags below",
    )


def main(arguments: Sequence[str]) -> int:
    """Analyze every run; one that cannot be analyzed is reported, and the others continue."""
    flags, settings = read_command(parser(), arguments, AnalyzeSettings)

    from domain_masks.records.collection import collect  # noqa: PLC0415

    collection = collect(settings.runs)
    reporter = reporter_for(flags)
    problems = [*collection.skipped, *collection.failed]
    if not collection.runs:
        raise RunFolderError(_reasons(settings.runs, collection))
    for problem in problems:
        reporter.say(f"{problem.path} is left out: {problem.reason}")
    if "dataset" in settings.changes or "root" in settings.changes:
        _require_dataset(collection.runs, settings.changes)
    for path in collection.unfinished:
        reporter.say(f"{path} is left out: it is not finished")
    failed = [_shown(record, settings, reporter, len(collection.runs) > 1) for record in collection.runs].count(False)
    return 1 if failed or problems else 0


def _reasons(paths: Sequence[str], collection: Collection) -> str:
    """Return the message for runs of which none can be analyzed."""
    reasons = [f"{entry.path}: {entry.reason}" for entry in (*collection.skipped, *collection.failed)]
    reasons += [
        f"{path}: not finished; resume it with `dmg train --resume --out {path}`" for path in collection.unfinished
    ]
    if not reasons:
        return (
            f"no run at or below {', '.join(paths)}: expected a folder that `dmg train` or `dmg benchmark` has written"
        )
    return "no run that can be analyzed:\n" + "\n".join(f"  {reason}" for reason in reasons)


def _require_dataset(runs: Sequence[RunRecord], changes: Mapping[str, Any]) -> None:
    """Open the dataset at its new location before anything heavy is imported; raises InputError."""
    from domain_masks.data import load_dataset  # noqa: PLC0415

    config = {**runs[0].config, **changes}
    load_dataset(str(config["dataset"]), config.get("root"))


def _shown(record: RunRecord, settings: AnalyzeSettings, reporter: Reporter, several: bool) -> bool:
    """Analyze one run and print a summary; False where that fails, which is only reported if there are several runs."""
    from domain_masks.analysis import analyze  # noqa: PLC0415
    from domain_masks.report import draw_analysis, summary_lines  # noqa: PLC0415

    path = record.folder.path
    try:
        analyze(
            path,
            changes=settings.changes,
            images=None if settings.images == "all" else settings.images,
            with_model=not settings.no_model,
            with_images=not settings.no_images,
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
