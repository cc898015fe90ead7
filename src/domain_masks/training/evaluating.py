"""Evaluation of a run from its checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from domain_masks.data import ImageDataset, content_of, load_dataset
from domain_masks.data.label_alignment import lost_classes
from domain_masks.errors import RunFolderError
from domain_masks.keywords import named_keywords
from domain_masks.progress import ConsoleReporter, Reporter
from domain_masks.records import Results, RunFolder
from domain_masks.records.config import parse_config, read_settings
from domain_masks.records.preparation import as_started
from domain_masks.settings.plugins import require_plugins
from domain_masks.training.checkpoint_state import CheckpointState
from domain_masks.training.checkpoints import best_checkpoint, load_checkpoint
from domain_masks.training.conditions import conditions_of, set_threads
from domain_masks.training.contents import note_content
from domain_masks.training.defaults import resolve
from domain_masks.training.experiment import Experiment
from domain_masks.training.finished_run import Run
from domain_masks.training.launching import launch
from domain_masks.training.measuring import finish, measure
from domain_masks.training.number_formats import resolve_formats
from domain_masks.training.phases import planned_epochs
from domain_masks.training.process_state import fresh_process_state
from domain_masks.training.provenance import Provenance
from domain_masks.training.run_dataset import dataset_of_run
from domain_masks.training.run_progress import read_progress


@named_keywords
def evaluate(
    path: Path | str,
    reporter: Reporter | None = None,
    *,
    dataset: ImageDataset | None = None,
    changes: Mapping[str, Any] | None = None,
    config_file: Path | str | None = None,
) -> Run:
    """Compute all predictions and accuracies of a finished or interrupted run again, from its best checkpoint.

    - ``changes``: settings that differ from the run's own, such as where the dataset lies now. A run that is calibrated is
      calibrated again, unless they say ``calibrate`` False
    - ``config_file``: a YAML in place of the run's own

    Raises RunFolderError where the folder holds no run with a checkpoint, InputError for settings that cannot be used.
    """
    reporter = reporter or ConsoleReporter()
    with fresh_process_state(reporter):
        return _evaluate(RunFolder(path), reporter, dataset, changes or {}, config_file)


def _evaluate(
    folder: RunFolder,
    reporter: Reporter,
    dataset: ImageDataset | None,
    changes: Mapping[str, Any],
    config_file: Path | str | None,
) -> Run:
    if config_file is None and not folder.config.is_file():
        raise RunFolderError(f"{folder.path} holds no run: expected a folder that `dmg train` has written")
    values = read_settings(Path(config_file) if config_file is not None else folder.config)
    require_plugins(values, folder.path)
    if "calibrate" not in changes and _is_calibrated(folder):
        changes = {**changes, "calibrate": True}
    config = as_started(parse_config({**values, **changes, "devices": 1}), values)
    opened = load_dataset(config.dataset, config.root) if dataset is None else dataset
    last = load_checkpoint(folder.last)
    best = best_checkpoint(folder, read_progress(last["progress"]))
    config = resolve_formats(resolve(config, opened))
    checkpoint = CheckpointState(best["method"], Provenance.of_checkpoint(last), parts=conditions_of(last))
    data = dataset_of_run(opened, config, folder, reporter, checkpoint)
    for name in lost_classes(data.images, data.images.classes):
        reporter.say(
            f"dataset {opened.name!r} has no images of the class {name!r}, which the run knows: none is measured"
        )
    fabric = launch(config)
    set_threads(fabric, config, checkpoint.parts)
    experiment = Experiment(config, data.images, fabric, reporter, checkpoint, data.left_out)
    for line in experiment.changes:
        reporter.say(line)
    progress = read_progress(last["progress"])
    if not progress.is_complete(config, planned_epochs(config, experiment.method)) and not folder.is_finished:
        reporter.say(
            f"{folder.path} is not finished: these are the accuracies of its best epoch so far, and nothing is written"
        )
        return Run(folder, measure(experiment, progress)[0])
    results = finish(experiment, progress, folder)
    note_content(folder, content_of(data.identified))
    return Run(folder, results)


def _is_calibrated(folder: RunFolder) -> bool:
    """Whether the run was calibrated after its training, which its settings do not say."""
    with suppress(RunFolderError):
        return bool(Results.read(folder.results).temperatures)
    return False
