"""Evaluation of a run from its checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from domain_masks.data import ImageDataset, content_of, load_dataset
from domain_masks.data.label_alignment import lost_classes
from domain_masks.errors import InputError, RunFolderError
from domain_masks.keywords import named_keywords
from domain_masks.progress import ConsoleReporter, Reporter
from domain_masks.records import Predictions, Results, RunFolder, write_whole
from domain_masks.records.config import parse_config, read_settings
from domain_masks.records.files import is_there, read_bytes
from domain_masks.records.preparation import as_started
from domain_masks.records.test_time import AtTestTime
from domain_masks.settings.plugins import require_plugins
from domain_masks.training.checkpoint_state import CheckpointState, refuse_other_settings
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
from domain_masks.training.run_progress import Progress, read_progress


@named_keywords
def evaluate(
    path: Path | str,
    reporter: Reporter | None = None,
    *,
    dataset: ImageDataset | None = None,
    changes: Mapping[str, Any] | None = None,
    config_file: Path | str | None = None,
    test_time: AtTestTime | None = None,
    out: Path | str | None = None,
) -> Run:
    """Compute all predictions and accuracies of a finished or interrupted run again, from its best checkpoint.

    - ``changes``: settings that differ from the run's own, such as where the dataset lies now. A run that is calibrated is
      calibrated again, unless they say ``calibrate`` False
    - ``config_file``: a YAML in place of the run's own
    - ``test_time``, ``out``: an option of predicting, and the folder that its results are written to: settings, environment,
      predictions and results, and no model. The run's own folder is not changed

    Raises RunFolderError where the folder holds no run with a checkpoint, and for other settings than the run's own that decide
    what it computes; InputError for settings that cannot be used.
    """
    reporter = reporter or ConsoleReporter()
    folder = RunFolder(path)
    apart = None if test_time is None else _unused(out)
    with fresh_process_state(reporter):
        experiment, progress, content = _restored(folder, reporter, dataset, changes or {}, config_file)
        is_complete = progress.is_complete(experiment.config, planned_epochs(experiment.config, experiment.method))
        if apart is not None:
            if not is_complete and not folder.is_finished:
                raise RunFolderError(f"{folder.path} is not finished: expected a finished run, whose model is chosen")
            return _written_apart(folder, apart, *measure(experiment, progress, test_time))
        if not is_complete and not folder.is_finished:
            reporter.say(
                f"{folder.path} is not finished: these are the accuracies of its best epoch so far, and nothing is written"
            )
            return Run(folder, measure(experiment, progress)[0])
        results = finish(experiment, progress, folder)
        note_content(folder, content)
        return Run(folder, results)


def _unused(out: Path | str | None) -> RunFolder:
    """Return the folder of results that are not the run's own; raises InputError where something is in it."""
    if out is None:
        raise InputError("out: expected a folder for the results, which do not replace those of the run: add --out DIR")
    path = Path(out)
    if is_there(path) and (not path.is_dir() or any(path.iterdir())):
        what = "is not empty" if path.is_dir() else "is a file"
        raise InputError(f"out: expected a new folder, got {str(path)!r}, which {what}")
    return RunFolder(path)


def _written_apart(folder: RunFolder, apart: RunFolder, results: Results, predictions: Predictions) -> Run:
    """Write results, predictions, and copies of the settings and the environment of the run; results last."""
    for source, copy in ((folder.config, apart.config), (folder.environment, apart.environment)):
        if source.is_file():
            write_whole(copy, read_bytes(source))
    predictions.save(apart.predictions)
    results.write(apart.results)
    return Run(apart, results)


def _restored(
    folder: RunFolder,
    reporter: Reporter,
    dataset: ImageDataset | None,
    changes: Mapping[str, Any],
    config_file: Path | str | None,
) -> tuple[Experiment, Progress, str]:
    """Return the experiment with the weights of its best epoch, its progress, and the fingerprint of the dataset."""
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
    refuse_other_settings(
        config, last["config"], folder, "Evaluate the run with its own settings, or train another one"
    )
    checkpoint = CheckpointState(best["method"], Provenance.of_checkpoint(last), parts=conditions_of(last))
    data = dataset_of_run(opened, config, folder, reporter, checkpoint.provenance)
    for name in lost_classes(data.images, data.images.classes):
        reporter.say(
            f"dataset {opened.name!r} has no images of the class {name!r}, which the run knows: none is measured"
        )
    fabric = launch(config)
    set_threads(fabric, config, checkpoint.parts)
    experiment = Experiment(config, data.images, fabric, reporter, checkpoint, data.left_out)
    for line in experiment.changes:
        reporter.say(line)
    return experiment, read_progress(last["progress"]), content_of(data.identified)


def _is_calibrated(folder: RunFolder) -> bool:
    """Whether the run was calibrated after its training, which its settings do not say."""
    with suppress(RunFolderError):
        return bool(Results.read(folder.results).temperatures)
    return False
