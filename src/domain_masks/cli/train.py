"""``dmg train``."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from domain_masks.cli.flags import add_settings, parser_for, say, settings_from, split_method_flags
from domain_masks.cli.interruption import resumable
from domain_masks.cli.results import result_lines
from domain_masks.errors import InputError
from domain_masks.records.config import RunConfig, parse_config
from domain_masks.records.run_folder import RunFolder


def main(arguments: Sequence[str]) -> int:
    """Train one run; without flags, DMG on the embedded digits."""
    parser = parser_for(
        "train",
        "Trains one method on all domains but the held-out one(s), chooses the best epoch on the sources' validation "
        "pictures, measures it out of domain, in domain and with known domain, and leaves a run folder. Without flags: "
        "DMG on the embedded digits.",
        """
        dmg train
        dmg train --dataset pacs --root data --target sketch --method dmg --backbone resnet18 --out runs/sketch
        dmg train --dataset photos/ --target hospital_d --method.overlap_weight 0.05 --epochs 20
        """,
    )
    parser.add_argument("--out", metavar="DIR", help="the run folder (default: runs/DATASET-TARGET-METHOD-SEED)")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out, with its own settings")
    parser.add_argument("--overwrite", action="store_true", help="begin again in a folder that holds a run")
    parser.add_argument("--quiet", action="store_true", help="show the result alone")
    parser.add_argument("--print_config", action="store_true", help="show all settings as YAML and end")
    add_settings(parser)
    words, method_settings = split_method_flags(arguments)
    flags = parser.parse(words)
    base = None
    if flags.resume:
        if not flags.out:
            raise InputError("expected --out with the folder of the run to resume")
        config = RunFolder(flags.out).config
        base = config if config.is_file() else None
    settings = parse_config(settings_from(flags, method_settings, base))
    if flags.print_config:
        say(_complete(settings).to_yaml().rstrip())
        return 0
    out = Path(flags.out) if flags.out else _default_folder(settings)

    from domain_masks.progress import ConsoleReporter  # noqa: PLC0415
    from domain_masks.training import run  # noqa: PLC0415
    from domain_masks.training.engine import is_main_process  # noqa: PLC0415

    reporter = ConsoleReporter(flags.quiet)
    with resumable(f"Go on with: dmg train --resume --out {shlex.quote(str(out))}"):
        finished = run(settings, out, resume=flags.resume, overwrite=flags.overwrite, reporter=reporter)
    if not is_main_process():
        return 0
    for line in result_lines(finished.results):
        say(line)
    say(f"run folder    {finished.folder.path}")
    return 0


def _complete(settings: RunConfig) -> RunConfig:
    from domain_masks.data import load_dataset  # noqa: PLC0415
    from domain_masks.training.defaults import resolve  # noqa: PLC0415

    return resolve(settings, load_dataset(settings.dataset, settings.root))


def _default_folder(settings: RunConfig) -> Path:
    target = "default" if settings.target is None else "+".join(settings.target) or "none"
    return Path("runs") / f"{Path(settings.dataset).name}-{target}-{settings.method_name}-{settings.seed}"
