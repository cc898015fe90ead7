"""``dmg data cache``."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from domain_masks.cli.flags import (
    Parser,
    add_output,
    add_settings,
    parser_for,
    reporter_for,
    say,
    settings_from,
    split_method_flags,
)
from domain_masks.errors import InputError, combine_errors, unknown
from domain_masks.records.cache import CACHE_VARIABLE, cache_folder
from domain_masks.records.counts import counted
from domain_masks.settings.validation import check_settings

KINDS = {"features": "frozen features, a folder per recipe", "verification": "which images can be read"}


def parser() -> Parser:
    """Return the parser of ``dmg data cache``."""
    parser = parser_for(
        "data cache",
        "Without a dataset: shows what is kept, and where. With one: does ahead what a run would do before its first step, "
        "verifies the images and, with --freeze_features, computes the features of all domains; its settings are those of "
        "`dmg train`. --clear removes what is kept; it is computed again when it is needed.",
        """
        dmg data cache
        dmg data cache --dataset pacs --root data --backbone resnet18 --freeze_features --views 8
        dmg data cache --clear features
        """,
    )
    parser.add_argument(
        "--clear", nargs="?", const="all", metavar="|".join((*KINDS, "all")), help="remove what is kept"
    )
    add_output(parser)
    add_settings(parser, without=("target",))
    return parser


def main(arguments: Sequence[str]) -> int:
    """Show, fill or clear the cache."""
    words, method_settings = split_method_flags(arguments)
    flags, mistakes = parser().parse_and_note(words)
    given = settings_from(flags, method_settings)
    # A method is always there; by itself it says nothing.
    names = [f"--{name}" for name in given if name != "method" or flags.method is not None or method_settings]
    if flags.clear is not None:
        if flags.clear not in (*KINDS, "all"):
            mistakes.append(str(unknown("kind of cache", flags.clear, (*KINDS, "all"))))
        if names:
            mistakes.append(f"--clear removes what is kept for all datasets: leave out {', '.join(names)}, or --clear")
    elif names and "dataset" not in given:
        mistakes.append(f"{', '.join(names)}: expected --dataset with them, which names what is to be computed")
    if mistakes and (flags.clear is not None or "dataset" not in given):
        raise combine_errors(mistakes)
    if flags.clear is not None:
        _clear(list(KINDS) if flags.clear == "all" else [flags.clear])
        return 0
    if "dataset" not in given:
        for line in _lines():
            say(line)
        return 0
    config = check_settings(given, mistakes)

    from domain_masks.data import load_dataset  # noqa: PLC0415
    from domain_masks.training.opening import require_weights  # noqa: PLC0415

    require_weights(config)
    dataset = load_dataset(config.dataset, config.root)

    from domain_masks.training.prepare import prepare  # noqa: PLC0415

    count = prepare(config, reporter_for(flags), dataset)
    done = "verified, their features kept" if config.freeze_features else "verified"
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
            say(f"{kind}: nothing is kept")
            continue
        try:
            shutil.rmtree(folder)
        except OSError as error:
            raise InputError(f"cannot remove {folder}: {error.strerror or error}. Check the permissions") from error
        say(f"{kind}: removed")
