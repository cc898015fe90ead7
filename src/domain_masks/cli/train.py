"""``dmg train``."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from domain_masks.cli.flags import command_parser, given_flags, reporter_for, run_flags, settings_from
from domain_masks.cli.interruption import resumable
from domain_masks.cli.parser import Parser, split_method_flags
from domain_masks.cli.standard_output import say
from domain_masks.records.config import RunConfig
from domain_masks.settings.command import check_command
from domain_masks.settings.of_a_run import default_folder, to_resume
from domain_masks.settings.train import TrainSettings
from domain_masks.settings.validation import check_settings
from domain_masks.torchrun import is_main_process
from domain_masks.training.telling import told_to_all

if TYPE_CHECKING:
    from domain_masks.data import ImageDataset


def parser() -> Parser:
    """Return the parser of ``dmg train``."""
    return command_parser(
        "train",
        "Trains one method on all domains but the held-out one(s), selects the best epoch on the sources' validation images, "
        "measures out-of-domain, in-domain and known-domain accuracy, and writes a run folder. Without flags: DMG on the "
        "embedded digits.",
        """
        dmg train
        dmg train --dataset pacs --root data --target sketch --method dmg --backbone resnet18 --out runs/sketch
        dmg train --dataset photos/ --target hospital_d --method.overlap_weight 0.05 --epochs 20
        dmg train --target ink --epochs 5 --print_config > ink.yaml
        """,
        RunConfig,
        TrainSettings,
    )


def main(arguments: Sequence[str]) -> int:
    """Train one run; without flags, DMG on the embedded digits."""
    words, method_settings = split_method_flags(arguments)
    flags, mistakes = parser().parse_and_note(words)
    options = check_command(TrainSettings, given_flags(flags, TrainSettings))
    resumes = options.resume and flags.config is None
    given_settings = (
        to_resume(options.out, run_flags(flags, method_settings)) if resumes else settings_from(flags, method_settings)
    )
    with told_to_all(given_settings):
        settings = check_settings(given_settings, mistakes)
    if options.print_config:
        say(_complete(settings).to_yaml().rstrip())
        return 0
    out = options.out or default_folder(settings)

    from domain_masks.training.opening import open_run  # noqa: PLC0415

    with told_to_all(given_settings):
        dataset = open_run(settings, out, options.resume, options.overwrite)
    reporter = reporter_for(flags)
    if flags.verbose and is_main_process():
        reporter.say(_complete(settings, dataset).to_yaml().rstrip())

    from domain_masks.cli.results import LEGEND, detail_lines, next_lines, result_table  # noqa: PLC0415
    from domain_masks.training import run  # noqa: PLC0415

    with resumable(f"Resume with: dmg train --resume --out {shlex.quote(str(out))}"):
        finished = run(
            settings, out, resume=options.resume, overwrite=options.overwrite, dataset=dataset, reporter=reporter
        )
    if not is_main_process():
        return 0
    for line in result_table(finished.results):
        say(line)
    for line in detail_lines(finished.results) if flags.verbose else ():
        say(line)
    say(f"run folder    {finished.folder.path}")
    for line in (LEGEND, *next_lines(finished.results, out)):
        reporter.say(line)
    return 0


def _complete(settings: RunConfig, dataset: ImageDataset | None = None) -> RunConfig:
    from domain_masks.data import load_dataset  # noqa: PLC0415
    from domain_masks.training.defaults import resolve  # noqa: PLC0415

    return resolve(settings, load_dataset(settings.dataset, settings.root) if dataset is None else dataset)
