"""One run from a configuration to a finished run folder."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

from domain_masks.data import ImageDataset, examine, identified, load_dataset
from domain_masks.errors import DomainMasksError
from domain_masks.keywords import named_keywords
from domain_masks.methods.plugins import load_plugins
from domain_masks.methods.tensor_files import load_tensors
from domain_masks.progress import ConsoleReporter, Reporter
from domain_masks.records import Results, RunFolder, write_json
from domain_masks.records.config import RunConfig, read_config
from domain_masks.records.environment import environment
from domain_masks.records.identity import INPUTS, inputs_noted, plugins_changed, revised_since
from domain_masks.records.preparation import as_begun
from domain_masks.training.batch_size import resolve_batch_size
from domain_masks.training.checkpoints import best_checkpoint
from domain_masks.training.closed_form import fit_at_once
from domain_masks.training.conditions import conditions, note, set_threads
from domain_masks.training.contents import inputs_now
from domain_masks.training.defaults import notes, resolve
from domain_masks.training.describing import describe
from domain_masks.training.experiment import Experiment
from domain_masks.training.finished import Run, finished
from domain_masks.training.fit import fit
from domain_masks.training.launching import launch, on_main_process, repeatable
from domain_masks.training.measuring import finish
from domain_masks.training.method_checks import check_method
from domain_masks.training.opening import is_main_process
from domain_masks.training.run_dataset import readable_images, with_names_of_the_run
from domain_masks.training.schedules import note_on_length
from domain_masks.training.state import CheckpointState
from domain_masks.training.surroundings import as_in_a_fresh_process
from domain_masks.training.value_range import with_own_range

_PLUGIN_CHANGED = (
    "note: the code of a plugin is not what it was when the run was begun: it goes on with what the code is now, and is known "
    "by what it was"
)


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
    with as_in_a_fresh_process(reporter):
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
    began = time.monotonic()
    opened = load_dataset(config.dataset, config.root) if dataset is None else dataset
    # What a run that goes on is not told is as it began.
    begun = read_config(folder.config) if resume and folder.config.is_file() else None
    config = resolve(config if begun is None else as_begun(config, begun), opened)
    state = "new"
    if is_main_process() and (resume or not overwrite):
        state = folder.prepare(resume, overwrite)
    try:
        fabric = launch(config)
        repeatable(config.deterministic)
        state = fabric.broadcast(state)
        if not fabric.is_global_zero:
            reporter = ConsoleReporter(quiet=True)
        if state == "finished":
            return finished(folder, identified(opened, config, reporter, decode_images=False), config, reporter)
        restored = CheckpointState.read(folder, config) if state == "resume" else None
        set_threads(fabric, config, restored.parts if restored is not None else ())
        # Of a run that goes on, what it began from may be gone.
        examined = examine(opened, config.workers, reporter, config.verify)
        inputs = inputs_now(config, examined.dataset, inputs_noted(folder) if state == "resume" else None)
        opened, left_out = readable_images(examined, config, reporter, restored)
        opened = with_names_of_the_run(opened, config, folder, restored)
        config = with_own_range(config, opened, reporter)
        config = resolve_batch_size(config, opened, fabric, reporter)
        experiment = Experiment(config, opened, fabric, reporter, restored)
        experiment.facts["left_out"] = left_out
        check_method(experiment, restored)
    except DomainMasksError:
        with suppress(OSError):
            # Nothing has begun: an empty folder would only be in the way of the next try.
            folder.path.rmdir()
        raise

    def begin() -> None:
        if overwrite:
            # Not before everything that can be wrong with the settings has been tried: the old run would be lost for nothing.
            folder.prepare(overwrite=True)
        config.write(folder.config)
        write_json(folder.environment, environment() | {INPUTS: inputs})

    on_main_process(fabric, begin)
    revised = [f"note: begun by an older version, goes on as now: {line}" for line in revised_since(config, inputs)]
    changed = (
        [
            note(restored.parts, conditions(fabric)),
            note_on_length(config, restored.progress.epochs_done, restored.epochs),
        ]
        if restored is not None
        else []
    )
    said = [
        describe(experiment),
        *notes(config, opened),
        *([_PLUGIN_CHANGED] if plugins_changed(config, inputs) else ()),
        *experiment.changes,
        *revised,
        *filter(None, changed),
    ]
    for line in said:
        reporter.say(line)
    method = experiment.method
    if method.is_closed_form():
        progress = fit_at_once(experiment, folder, restored)
    else:
        sources = experiment.sources()
        # Images are checked and frozen features computed before the first step; a run that goes on had done so before.
        experiment.facts["preparation"] = experiment.facts.get("preparation", 0.0) + time.monotonic() - began
        progress = fit(fabric, method, sources, config, folder, reporter)
        load_tensors(method, best_checkpoint(folder, progress, method)["method"])
    results = finish(experiment, progress, folder) if fabric.is_global_zero else None
    fabric.barrier()
    return Run(folder, results or Results.read(folder.results))
