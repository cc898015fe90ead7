"""``dmg analyze``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from domain_masks.cli.flags import command_parser, read_command, reporter_for
from domain_masks.cli.parser import Parser
from domain_masks.cli.standard_output import say
from domain_masks.settings.finished_runs import AnalyzeSettings

if TYPE_CHECKING:
    from domain_masks.calls.analyze import AnalyzedRun
    from domain_masks.progress import Reporter


def parser() -> Parser:
    """Return the parser of ``dmg analyze``."""
    return command_parser(
        "analyze",
        "Analyses what the masks of finished runs learned: accuracy of every mask on every domain, overlap of the masks, "
        "nearest source of each image, ablation of units, calibration, confusion matrices, galleries, class activation maps "
        "under each mask, channels that differ between masks, features in two dimensions. Writes analysis.json, and figures "
        "and tables into figures/, in each run's folder.",
        """
        dmg analyze runs/sketch
        dmg analyze runs/pacs                   # every run below a folder
        dmg analyze runs/sketch --images 2000   # ablation on more images
        dmg analyze runs/sketch --heat_maps 8   # class activation maps of more images
        dmg analyze runs/sketch --no_images     # only from the records, in seconds
        """,
        AnalyzeSettings,
        config="settings in YAML, also those of a run: where the dataset lies now, and the flags below",
    )


def main(arguments: Sequence[str]) -> int:
    """Analyze every run; one that cannot be analyzed is reported, and the others continue."""
    flags, settings = read_command(parser(), arguments, AnalyzeSettings)

    from domain_masks.calls.analyze import analyzed  # noqa: PLC0415

    reporter = reporter_for(flags)
    done = analyzed(settings, reporter, lambda run, several: _show(run, several, reporter))
    return 1 if done.problems else 0


def _show(run: AnalyzedRun, several: bool, reporter: Reporter) -> None:
    """Print a summary of one run's analysis."""
    from domain_masks.report import summary_lines  # noqa: PLC0415

    results, analysis, path = run.results, run.analysis, run.folder.path
    if several:
        say(f"{path}: {results.method}, held out {', '.join(results.targets) or 'none'}, seed {results.seed}")
    for line in summary_lines(analysis, results.targets):
        say(line)
    drawn = sum(name.endswith(".png") for name in analysis.figures)
    reporter.say(
        f"wrote {run.folder.analysis}, and {drawn} figures and {len(analysis.figures) - drawn} tables beside it"
    )
    if several:
        say("")
