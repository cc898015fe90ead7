"""One run from a configuration to a finished run folder: open, resolve, build, fit, measure, write."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from domain_masks.data import ImageDataset, identified, load_dataset
from domain_masks.errors import DomainMasksError
from domain_masks.keywords import named_keywords
from domain_masks.methods.plugins import load_plugins
from domain_masks.progress import ConsoleReporter, Reporter
from domain_masks.records import Results, RunFolder, write_json
from domain_masks.records.config import RunConfig, read_config
from domain_masks.records.environment import environment
from domain_masks.records.identity import INPUTS, inputs_noted
from domain_masks.records.preparation import as_started
from domain_masks.training.announcement import announcement
from domain_masks.training.batch_size import resolve_batch_size
from domain_masks.training.checkpoint_state import CheckpointState
from domain_masks.training.closed_form import fit_closed_form
from domain_masks.training.conditions import set_threads
from domain_masks.training.contents import inputs_now
from domain_masks.training.defaults import resolve
from domain_masks.training.experiment import Experiment
from domain_masks.training.finished_run import Run, finished
from domain_masks.training.fit import fit
from domain_masks.training.launching import launch, on_main_process
from domain_masks.training.measuring import finish
from domain_masks.training.method_checks import check_method
from domain_masks.training.number_formats import chosen_formats, resolve_formats
from domain_masks.training.opening import is_main_process
from domain_masks.training.process_state import fresh_process_state
from domain_masks.training.run_dataset import dataset_of_run
from domain_masks.training.value_range import resolve_value_range


@named_keywords
def run(
    config: RunConfig,
    out: Path | str,
    *,
    resume: bool = False,
    overwrite: bool = False,
    dataset: ImageDataset | None = None,
    reporter: Reporter | None = None,
) -> Run:
    """Train one method with held-out domains and one seed, measure it, and leave a run folder.

    - ``out``: the run folder; see :class:`RunFolder` for what may be there with ``resume`` and ``overwrite``
    - ``dataset``: an opened dataset in place of the configuration's name

    Raises InputError for settings that cannot be used, RunFolderError for a folder that cannot.
    """
    reporter = reporter or ConsoleReporter()
    load_plugins(config.plugin)
    with fresh_process_state(reporter):
        return _run(config, RunFolder(out), dataset, reporter, resume=resume, overwrite=overwrite)


def _run(
    config: RunConfig,
    folder: RunFolder,
    dataset: ImageDataset | None,
    reporter: Reporter,
    *,
    resume: bool,
    overwrite: bool,
) -> Run:
    """Open, resolve, build, fit, measure, write."""
    started = time.monotonic()
    opened = load_dataset(config.dataset, config.root) if dataset is None else dataset
    config = resolve(_as_started(config, folder) if resume else config, opened)
    with _prepared(folder, resume, overwrite) as state_here:
        asked, config = config, resolve_formats(config)
        fabric = launch(config)
        state = fabric.broadcast(state_here)
        if not fabric.is_global_zero:
            reporter = ConsoleReporter(quiet=True)
        if state == "finished":
            return finished(folder, identified(opened, config, reporter, decode_images=False), config, reporter)
        checkpoint = CheckpointState.read(folder, config) if state == "resume" else None
        for line in chosen_formats(asked, config):
            reporter.say(line)
        set_threads(fabric, config, () if checkpoint is None else checkpoint.parts)
        data = dataset_of_run(opened, config, folder, reporter, checkpoint)
        config = resolve_value_range(config, data.images, reporter)
        config = resolve_batch_size(config, data.images, fabric, reporter)
        experiment = Experiment(config, data.images, fabric, reporter, checkpoint, data.left_out)
        check_method(experiment, checkpoint)
        inputs = inputs_now(asked, data.identified, None if checkpoint is None else inputs_noted(folder))
    on_main_process(fabric, lambda: _start(folder, config, inputs, overwrite))
    for line in announcement(experiment, inputs, checkpoint):
        reporter.say(line)
    experiment.cache_images()
    if experiment.method.is_closed_form():
        progress = fit_closed_form(experiment, folder, checkpoint)
    else:
        progress = fit(experiment, folder, checkpoint, started)
    results = finish(experiment, progress, folder) if fabric.is_global_zero else None
    fabric.barrier()
    return Run(folder, results or Results.read(folder.results))


def _as_started(config: RunConfig, folder: RunFolder) -> RunConfig:
    """Fill in unset settings as they were when the run in the folder was started."""
    return as_started(config, read_config(folder.config)) if folder.config.is_file() else config


@contextmanager
def _prepared(folder: RunFolder, resume: bool, overwrite: bool) -> Iterator[str]:
    """Yield the state of the folder; where the block fails, an empty folder is removed, so that the next try can use it.

    The files of an earlier run are kept: with ``overwrite`` they are removed only once all checks have passed.
    """
    state = "new"
    if is_main_process() and (resume or not overwrite):
        state = folder.prepare(resume, overwrite)
    try:
        yield state
    except DomainMasksError:
        with suppress(OSError):
            folder.path.rmdir()
        raise


def _start(folder: RunFolder, config: RunConfig, inputs: Mapping[str, Any], overwrite: bool) -> None:
    """Write what is needed to repeat the run: its settings, versions and inputs."""
    if overwrite:
        folder.prepare(overwrite=True)
    config.write(folder.config)
    write_json(folder.environment, environment() | {INPUTS: inputs})
