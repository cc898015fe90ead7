"""``dmg train``."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from domain_masks.cli.flags import (
    Parser,
    add_output,
    add_settings,
    completed_by,
    parser_for,
    reporter_for,
    say,
    settings_from,
    split_method_flags,
)
from domain_masks.cli.interruption import resumable
from domain_masks.errors import InputError
from domain_masks.records.config import RunConfig
from domain_masks.records.run_folder import RunFolder
from domain_masks.settings.of_a_run import default_folder
from domain_masks.settings.validation import check_settings

if TYPE_CHECKING:
    from domain_masks.data import ImageDataset


def parser() -> Parser:
    """Return the parser of ``dmg train``."""
    parser = parser_for(
        "train",
        "Trains one method on all domains but the held-out one(s), chooses the best epoch on the sources' validation "
        "images, measures it out of domain, in domain and with known domain, and leaves a run folder. Without flags: "
        "DMG on the embedded digits.",
        """
        dmg train
        dmg train --dataset pacs --root data --target sketch --method dmg --backbone resnet18 --out runs/sketch
        dmg train --dataset photos/ --target hospital_d --method.overlap_weight 0.05 --epochs 20
        dmg train --target ink --epochs 5 --print_config > ink.yaml
        """,
    )
    out = parser.add_argument("--out", metavar="DIR", help="the run folder (default: runs/DATASET-TARGET-METHOD-SEED)")
    completed_by(out, folders=True)
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out, with its own settings")
    parser.add_argument("--overwrite", action="store_true", help="begin again in a folder that holds a run")
    parser.add_argument("--print_config", action="store_true", help="show all settings as YAML and end")
    add_output(parser)
    add_settings(parser)
    return parser


def main(arguments: Sequence[str]) -> int:
    """Train one run; without flags, DMG on the embedded digits."""
    words, method_settings = split_method_flags(arguments)
    flags, mistakes = parser().parse_and_note(words)
    base = None
    if flags.resume:
        if not flags.out:
            raise InputError("expected --out with the folder of the run to resume")
        config = RunFolder(flags.out).config
        base = config if config.is_file() else None
    settings = check_settings(settings_from(flags, method_settings, base), mistakes)
    if flags.print_config:
        say(_complete(settings).to_yaml().rstrip())
        return 0
    out = Path(flags.out) if flags.out else default_folder(settings)

    from domain_masks.training.opening import is_main_process, open_run  # noqa: PLC0415

    dataset = open_run(settings, out, flags.resume, flags.overwrite)
    reporter = reporter_for(flags)
    if flags.verbose and is_main_process():
        reporter.say(_complete(settings, dataset).to_yaml().rstrip())

    from domain_masks.cli.results import detail_lines, result_lines  # noqa: PLC0415
    from domain_masks.training import run  # noqa: PLC0415

    with resumable(f"Go on with: dmg train --resume --out {shlex.quote(str(out))}"):
        finished = run(
            settings, out, resume=flags.resume, overwrite=flags.overwrite, dataset=dataset, reporter=reporter
        )
    if not is_main_process():
        return 0
    for line in result_lines(finished.results):
        say(line)
    for line in detail_lines(finished.results) if flags.verbose else ():
        say(line)
    say(f"run folder    {finished.folder.path}")
    return 0


def _complete(settings: RunConfig, dataset: ImageDataset | None = None) -> RunConfig:
    from domain_masks.data import load_dataset  # noqa: PLC0415
    from domain_masks.training.defaults import resolve  # noqa: PLC0415

    return resolve(settings, load_dataset(settings.dataset, settings.root) if dataset is None else dataset)
