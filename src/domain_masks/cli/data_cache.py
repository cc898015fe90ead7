"""``dmg data cache``."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from domain_masks.cli.flags import command_parser, reporter_for, settings_from
from domain_masks.cli.parser import Parser, split_method_flags
from domain_masks.cli.standard_output import say
from domain_masks.errors import InputError, combine_errors
from domain_masks.records.cache import CACHE_VARIABLE, cache_folder
from domain_masks.records.config import RunConfig
from domain_masks.records.counts import counted
from domain_masks.settings.command import check_command
from domain_masks.settings.datasets import CacheSettings
from domain_masks.settings.validation import check_settings

KINDS = {
    "images": "decoded images, a folder per dataset and size",
    "features": "frozen features, a folder per recipe",
    "verification": "which images can be read",
}


def parser() -> Parser:
    """Return the parser of ``dmg data cache``."""
    return command_parser(
        "data cache",
        "Without a dataset: shows what is cached, and where. With one: does in advance what a run would do before its first "
        "step, verifies the images and, with --cache disk, decodes them or, with --freeze_features, computes the features of "
        "all domains; its settings are those of `dmg train`. --clear removes what is cached; it is computed again when it is "
        "needed.",
        """
        dmg data cache
        dmg data cache --dataset pacs --root data --cache disk
        dmg data cache --dataset pacs --root data --backbone resnet18 --freeze_features --views 8
        dmg data cache --clear features
        """,
        CacheSettings,
        RunConfig,
        without=("target",),
    )


def main(arguments: Sequence[str]) -> int:
    """Show, fill or clear the cache."""
    words, method_settings = split_method_flags(arguments)
    flags, mistakes = parser().parse_and_note(words)
    values = settings_from(flags, method_settings)
    # The settings always have a method, which alone does not ask for a computation.
    names = [f"--{name}" for name in values if name != "method" or flags.method is not None or method_settings]
    if flags.clear is not None:
        if names:
            mistakes.append(f"--clear removes what is cached of all datasets: leave out {', '.join(names)}, or --clear")
        clear = check_command(CacheSettings, {"clear": flags.clear}, mistakes).clear
        _clear([kind for kind in KINDS if clear in (kind, "all")])
        return 0
    if names and "dataset" not in values:
        mistakes.append(f"{', '.join(names)}: expected --dataset with them, which names what is to be computed")
    if mistakes and "dataset" not in values:
        raise combine_errors(mistakes)
    if "dataset" not in values:
        for line in _lines():
            say(line)
        return 0
    config = check_settings(values, mistakes)

    from domain_masks.data import load_dataset  # noqa: PLC0415
    from domain_masks.training.opening import require_weights  # noqa: PLC0415

    require_weights(config)
    dataset = load_dataset(config.dataset, config.root)

    from domain_masks.training.prepare import prepare  # noqa: PLC0415

    count = prepare(config, reporter_for(flags), dataset)
    done = "verified"
    if config.freeze_features:
        done += ", features cached"
    elif config.cache in ("disk", "device"):
        done += ", images cached"
    say(f"{counted(count, 'image')} of {config.dataset}: {done} in {cache_folder()}")
    return 0


def _lines() -> list[str]:
    lines = [f"{cache_folder()} (${CACHE_VARIABLE})"]
    for kind, text in KINDS.items():
        files = [path for path in (cache_folder() / kind).rglob("*") if path.is_file()]
        size = sum(path.stat().st_size for path in files)
        lines.append(f"  {kind:<13} {size / 2**20:9.1f} MiB in {counted(len(files), 'file')}: {text}")
    return lines


def _clear(kinds: Sequence[str]) -> None:
    for kind in kinds:
        folder: Path = cache_folder() / kind
        if not folder.exists():
            say(f"{kind}: nothing is cached")
            continue
        try:
            shutil.rmtree(folder)
        except OSError as error:
            raise InputError(f"cannot remove {folder}: {error.strerror or error}. Check the permissions") from error
        say(f"{kind}: removed")
