"""``dmg export``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from domain_masks.cli.flags import command_parser, read_command, reporter_for
from domain_masks.cli.parser import Parser
from domain_masks.cli.standard_output import say
from domain_masks.settings.export import ExportSettings

if TYPE_CHECKING:
    from domain_masks.deploy.exporting.export import Exported


def parser() -> Parser:
    """Return the parser of ``dmg export``."""
    return command_parser(
        "export",
        "Exports one ensemble of a trained model to a file that runs without this package, runs the file on real images, and "
        "keeps it if its outputs match the model's. A single mask is folded into the weights; channels that it hardly uses can "
        "be pruned. With several thresholds of --prune nothing is exported: the curve over the thresholds is measured.",
        """
        dmg export runs/sketch
        dmg export runs/sketch --ensemble masks --preprocessing --out sketch.onnx
        dmg export runs/sketch --ensemble known:photo --format pt2 --half
        dmg export runs/sketch --prune 0.4
        dmg export runs/sketch --prune 0.3 0.4 0.5 0.6 --limit 500
        """,
        ExportSettings,
    )


def main(arguments: Sequence[str]) -> int:
    """Export a model, or measure the curve over several thresholds; 1 if the file's outputs do not match the model's."""
    flags, settings = read_command(parser(), arguments, ExportSettings)

    from domain_masks.calls.export import PruningCurve, exported  # noqa: PLC0415

    done = exported(settings, reporter_for(flags))
    if isinstance(done, PruningCurve):
        from domain_masks.deploy.exporting.pruning_curve import curve_lines  # noqa: PLC0415

        for line in curve_lines(done.points):
            say(line)
        say(f"table and figure: {done.table}, {done.figure}")
        return 0
    for line in _lines(done, flags.verbose):
        say(line)
    return 0


def _lines(exported: Exported, verbose: bool) -> Iterator[str]:
    chosen = exported.classifier
    yield f"{'file':<11} {exported.path} ({exported.path.stat().st_size / 1e6:.2f} MB)"
    of_what = "" if chosen.pruned is None else "with what is left after pruning: "
    yield f"{'compared':<11} {of_what}{exported.parity}"
    for site in chosen.folded:
        if verbose or not site.is_folded:
            yield f"{'mask':<11} {site}"
    if chosen.pruned is not None:
        for pruned in chosen.pruned.sites:
            yield f"{'pruned':<11} {pruned}"
        before, after = chosen.pruned.before, chosen.pruned.after
        yield f"{'parameters':<11} {after:,} of {before:,} ({100 * after / before:.1f} %)"
        yield (
            f"{'changed':<11} pruning gives {exported.changed} of these {exported.parity.images} images another class; "
            "several thresholds after --prune measure accuracy, size and speed of each"
        )
        for pruned in chosen.pruned.sites:
            if pruned.below == pruned.site.size:
                yield (
                    f"{'warning':<11} every channel of {pruned.site.name} lies below the threshold: nothing of an image "
                    "passes there. Choose a lower one"
                )
