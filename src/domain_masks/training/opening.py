"""Checks of a run that need no torch, made before torch is imported."""

from __future__ import annotations

from pathlib import Path

from domain_masks.data import load_dataset
from domain_masks.data.dataset import ImageDataset
from domain_masks.data.splits import check_held_out
from domain_masks.data.validation_halves import check_in_domain_test
from domain_masks.errors import InputError, RunFolderError
from domain_masks.methods.method_registry import described
from domain_masks.records.config import RunConfig, parse_config, read_settings
from domain_masks.records.files import is_there
from domain_masks.records.run_folder import RunFolder, require_model
from domain_masks.settings.plugins import require_plugins
from domain_masks.torchrun import is_main_process
from domain_masks.training.defaults import targets_of

_NO_FILES = ("imagenet", "none")


def open_run(config: RunConfig, out: Path | str, resume: bool = False, overwrite: bool = False) -> ImageDataset:
    """Check folder, held-out domains, files and settings of a run, and return its dataset; nothing is written.

    Raises InputError and RunFolderError as the run would.
    """
    if is_main_process():
        RunFolder(out).refuse(resume, overwrite)
    require_weights(config)
    dataset = load_dataset(config.dataset, config.root)
    check_held_out(dataset, targets_of(config, dataset), described(config.method_name).fewest_sources)
    check_in_domain_test(dataset, config.in_domain_test)
    if config.init_from is not None and not resume:
        require_model(config.init_from)
    return dataset


def open_finished(path: Path | str, changes: dict[str, object], config_file: Path | str | None = None) -> ImageDataset:
    """Check folder and settings of a run that is to be evaluated again, and return its dataset.

    - ``changes``: settings that replace its own; ``config_file``: a YAML that replaces its ``config.yaml``

    Raises InputError and RunFolderError as the evaluation would.
    """
    folder = RunFolder(path)
    if config_file is None and not is_there(folder.config):
        raise RunFolderError(f"{folder.path} holds no run: expected a folder that `dmg train` has written")
    values = read_settings(Path(config_file) if config_file is not None else folder.config)
    require_plugins(values, folder.path)
    config = parse_config({**values, **changes})
    for checkpoint in (folder.last, folder.best):
        if not is_there(checkpoint):
            raise RunFolderError(f"{checkpoint} is missing: expected the checkpoint of a run")
    return load_dataset(config.dataset, config.root)


def require_weights(config: RunConfig) -> None:
    """Raise InputError for a weights file that does not exist."""
    if config.weights not in (None, *_NO_FILES) and not is_there(Path(str(config.weights))):
        raise InputError(
            f"weights {str(config.weights)!r}: no such file. Expected 'imagenet', 'none', or a .safetensors or .pth file"
        )
