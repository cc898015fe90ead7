"""``dmg data``: dispatches to the action; one thin file per action."""

from __future__ import annotations

import importlib
from collections.abc import Sequence

from domain_masks.cli.standard_output import say
from domain_masks.errors import InputError, unknown

ACTIONS = {
    "list": "the named datasets, or the number of images of one per domain and class",
    "check": "report everything that is wrong with a dataset",
    "download": "download a dataset and verify its checksums; resumes an interrupted download",
    "cache": "show and clear the cache; verify images and compute features in advance",
}


def main(arguments: Sequence[str]) -> int:
    """Run one action on a dataset."""
    words = list(arguments)
    if words and words[0] in ("-h", "--help"):
        say(_usage())
        return 0
    if not words or words[0].startswith("-"):
        raise InputError(f"expected an action after `dmg data`: one of {', '.join(ACTIONS)}")
    if words[0] not in ACTIONS:
        raise unknown("action", words[0], ACTIONS)
    status: int = importlib.import_module(f"domain_masks.cli.data_{words[0]}").main(words[1:])
    return status


def _usage() -> str:
    width = max(map(len, ACTIONS))
    actions = "\n".join(f"  {name:<{width}}  {text}" for name, text in ACTIONS.items())
    return (
        f"usage: dmg data ACTION [...]\n\n{actions}\n\n"
        "`dmg data ACTION --help` shows the flags of an action, among them --config FILE.\n\n"
        "example:\n  dmg data list photos/\n  dmg data check photos/\n  dmg data download pacs --root data --dry_run\n"
        "  dmg data cache --dataset photos/ --backbone resnet18 --freeze_features"
    )
