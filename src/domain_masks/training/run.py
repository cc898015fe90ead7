"""One run from a configuration to a finished run folder: open, resolve, build, fit, measure, write."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any

from domain_masks.data import ImageDataset, content_of, identified, load_dataset
from domain_masks.errors import DomainMasksError
from domain_masks.keywords import named_keywords
from domain_masks.methods.plugins import load_plugins
from domain_masks.progress import ConsoleReporter, Reporter
from domain_masks.records import RunFolder, write_json
from domain_masks.records.config import RunConfig, read_config
from domain_masks.records.environment import environment
from domain_masks.records.identity import INPUTS, inputs_noted
from domain_masks.records.preparation import as_started
from domain_masks.torchrun import torchrun
from domain_masks.training.agreement import require_same_content, require_same_settings, share_weights
from domain_masks.training.announcement import announcement
from domain_masks.training.batch_size import resolve_batch_size
from domain_masks.training.callbacks import Callback, Callbacks, EpochFunction, TrainStart
from domain_masks.training.checkpoint_state import CheckpointState
from domain_masks.training.closed_form import fit_closed_form
from domain_masks.training.conditions import set_threads
from domain_masks.training.contents import inputs_now
from domain_masks.training.defaults import resolve
from domain_masks.training.experiment import Experiment
from domain_masks.training.finished_run import Run, finished
from domain_masks.training.fit import fit
from domain_masks.training.freed_memory import freed_memory_kept
from domain_masks.training.launching import (
    irreproducible_operations_named,
    launch,
    lost_processes_named,
    on_main_process,
)
from domain_masks.training.measuring import finish
from domain_masks.training.method_checks import check_method
from domain_masks.training.number_formats import chosen_formats, resolve_formats
from domain_masks.training.process_state import fresh_process_state
from domain_masks.training.rate_figure import write_search
from domain_masks.training.rate_search import resolve_learning_rate
from domain_masks.training.run_dataset import dataset_of_run
from domain_masks.training.run_logs import RunLogs, check_services
from domain_masks.training.value_range import resolve_value_range
from domain_masks.training.waiting import long_on_all, long_on_main_process, raise_together


@named_keywords
def run(
    config: RunConfig,
    out: Path | str,
    *,
    resume: bool = False,
    overwrite: bool = False,
    dataset: ImageDataset | None = None,
    reporter: Reporter | None = None,
    callbacks: Sequence[Callback | EpochFunction] | Callback | EpochFunction = (),
) -> Run:
    """Train one method with held-out domains and one seed, measure it, and leave a run folder.

    - ``out``: the run folder; see :class:`RunFolder` for what may be there with ``resume`` and ``overwrite``
    - ``dataset``: an opened dataset in place of the configuration's name
    - ``callbacks``: functions of :class:`EpochEnd`, or objects of :class:`Callback`; see :mod:`domain_masks.training.callbacks`

    Raises InputError for settings that cannot be used, RunFolderError for a folder that cannot.
    """
    reporter = reporter or ConsoleReporter()
    called = Callbacks(callbacks)
    load_plugins(config.plugin)
    folder = RunFolder(out)
    with fresh_process_state(reporter), lost_processes_named(folder), irreproducible_operations_named():
        return _run(config, folder, dataset, reporter, called, resume=resume, overwrite=overwrite)


def _run(
    config: RunConfig,
    folder: RunFolder,
    dataset: ImageDataset | None,
    reporter: Reporter,
    callbacks: Callbacks,
    *,
    resume: bool,
    overwrite: bool,
) -> Run:
    """Open, resolve, build, fit, measure, write."""
    started = time.monotonic()
    opened = load_dataset(config.dataset, config.root) if dataset is None else dataset
    if (launched := torchrun()) is not None:
        config = config.model_copy(update={"devices": launched.processes})
    config = resolve(_as_started(config, folder) if resume else config, opened)
    with _empty_folder_removed(folder):
        asked, config = config, resolve_formats(config)
        fabric = launch(config)
        if launched is not None:
            # Another one may have found a mistake before it was launched, and tells it here.
            raise_together(None)
        # The files of an earlier run are kept: with --overwrite they are removed only once all checks have passed.
        refused = resume or not overwrite
        state = on_main_process(fabric, lambda: folder.prepare(resume, overwrite) if refused else "new")
        if not fabric.is_global_zero:
            reporter = ConsoleReporter(quiet=True)
        require_same_settings(fabric, config)
        if state == "finished":
            return long_on_main_process(fabric, lambda: _finished(folder, opened, config, reporter))
        checkpoint = (
            on_main_process(fabric, lambda: CheckpointState.read(folder, config)) if state == "resume" else None
        )
        on_main_process(fabric, lambda: check_services(config))
        for line in chosen_formats(asked, config):
            reporter.say(line)
        set_threads(fabric, config, () if checkpoint is None else checkpoint.parts)
        before = None if checkpoint is None else checkpoint.provenance
        data = long_on_all(fabric, lambda: dataset_of_run(opened, config, folder, reporter, before))
        require_same_content(fabric, content_of(data.identified))
        config = resolve_value_range(config, data.images, reporter)
        config = resolve_batch_size(config, data.images, fabric, reporter)
        config, search = resolve_learning_rate(config, data.images, fabric, reporter)
        experiment = Experiment(config, data.images, fabric, reporter, checkpoint, data.left_out)
        check_method(experiment, checkpoint)
        share_weights(fabric, experiment.method)
        inputs = inputs_now(asked, data.identified, None if checkpoint is None else inputs_noted(folder))
    on_main_process(fabric, lambda: _start(folder, config, inputs, overwrite))
    logs = RunLogs.open(config, folder, reporter) if fabric.is_global_zero else RunLogs({}, (), reporter)
    if search is not None:
        on_main_process(fabric, partial(write_search, folder, search))
    for line in announcement(experiment, inputs, checkpoint):
        reporter.say(line)
    long_on_all(fabric, experiment.cache_images)
    with logs.closing():
        if experiment.method.is_closed_form():
            callbacks.train_start(fabric, TrainStart(folder, config, 0, 0, experiment.method))
            progress = fit_closed_form(experiment, folder, checkpoint)
        else:
            # Whole networks gain less by it, and need a tenth more memory.
            with freed_memory_kept() if config.freeze_features else nullcontext():
                progress = fit(experiment, folder, checkpoint, started, callbacks, logs)
        results = long_on_main_process(fabric, lambda: finish(experiment, progress, folder))
        logs.finish(results)
    finished_run = Run(folder, results)
    callbacks.train_end(fabric, finished_run)
    return finished_run


def _finished(folder: RunFolder, opened: ImageDataset, config: RunConfig, reporter: Reporter) -> Run:
    return finished(folder, identified(opened, config, reporter, decode_images=False), config, reporter)


def _as_started(config: RunConfig, folder: RunFolder) -> RunConfig:
    """Fill in unset settings as they were when the run in the folder was started."""
    return as_started(config, read_config(folder.config)) if folder.config.is_file() else config


@contextmanager
def _empty_folder_removed(folder: RunFolder) -> Iterator[None]:
    """Remove an empty folder where the block fails, so that the next try can use it."""
    try:
        yield
    except DomainMasksError:
        with suppress(OSError, ValueError):  # ValueError of a name that no folder can have
            folder.path.rmdir()
        raise


def _start(folder: RunFolder, config: RunConfig, inputs: Mapping[str, Any], overwrite: bool) -> None:
    """Write what is needed to repeat the run: its settings, versions and inputs."""
    if overwrite:
        folder.prepare(overwrite=True)
    config.write(folder.config)
    write_json(folder.environment, environment() | {INPUTS: inputs})
