"""A finished run that is asked to go on."""

from __future__ import annotations

from domain_masks.data import ImageDataset
from domain_masks.errors import RunFolderError
from domain_masks.records import RunFolder
from domain_masks.records.config import RunConfig, parse_config, read_settings
from domain_masks.records.preparation import as_begun
from domain_masks.training.defaults import resolve
from domain_masks.training.state import refuse_other_settings

_LENGTH = ("epochs", "patience", "max_time")


def refuse_changes(folder: RunFolder, config: RunConfig, dataset: ImageDataset) -> None:
    """Raise RunFolderError where a finished run is resumed with other settings, such as more epochs, patience or time.

    Its schedule has come to its end and its results have been measured: what is learned after that is another run.
    """
    if not folder.config.is_file():
        return
    begun = read_settings(folder.config)
    before = resolve(as_begun(parse_config(begun), begun), dataset)
    refuse_other_settings(config, before.model_dump(mode="json"), folder)
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
