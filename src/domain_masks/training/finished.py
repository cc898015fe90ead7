"""A finished run that is asked to go on."""

from __future__ import annotations

from domain_masks.errors import RunFolderError
from domain_masks.records import RunFolder
from domain_masks.records.config import RunConfig, parse_config, read_config

_LENGTH = ("epochs", "patience", "max_time")


def refuse_another_length(folder: RunFolder, config: RunConfig) -> None:
    """Raise RunFolderError where a finished run is resumed for more or fewer epochs, more patience or more time.

    Its schedule has come to its end and its results have been measured: what is learned after that is another run.
    """
    if not folder.config.is_file():
        return
    before = parse_config(read_config(folder.config))
    changed = [
        f"{name} (was {getattr(before, name)}, now {getattr(config, name)})"
        for name in _LENGTH
        if getattr(before, name) != getattr(config, name)
    ]
    if changed:
        raise RunFolderError(
            f"{folder.path} holds a finished run, which does not go on: {', '.join(changed)}. Train its model further in "
            f"another folder with --init_from {folder.path} and without --resume, or begin again with --overwrite"
        )
