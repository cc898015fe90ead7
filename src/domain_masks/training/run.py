"""One run from a configuration to a finished run folder."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from domain_masks.data import DomainSplits, ImageDataset, content_of, examine, identified, load_dataset, usable
from domain_masks.data.alignment import aligned, lost_classes
from domain_masks.data.verification import Examined
from domain_masks.errors import DomainMasksError, RunFolderError
from domain_masks.evaluation import accuracies, nearest_accuracy
from domain_masks.keywords import named_keywords
from domain_masks.masks import mask_statistics
from domain_masks.methods import Method
from domain_masks.methods.saving import read_card
from domain_masks.methods.tensor_files import load_tensors
from domain_masks.progress import ConsoleReporter, Reporter
from domain_masks.records import Predictions, Results, RunFolder, write_json
from domain_masks.records.config import RunConfig, parse_config, read_config, read_settings
from domain_masks.records.environment import environment
from domain_masks.records.identity import INPUTS, inputs_noted, revised_since
from domain_masks.records.preparation import as_begun
from domain_masks.records.results import notes_of
from domain_masks.training.batch_size import with_batch
from domain_masks.training.checkpoints import load_checkpoint
from domain_masks.training.closed_form import fit_at_once
from domain_masks.training.conditions import conditions, note, parts_of, set_threads
from domain_masks.training.contents import inputs_now, note_content, refuse_other_content
from domain_masks.training.defaults import notes, resolve
from domain_masks.training.domain_classifier import add_domain_classifier
from domain_masks.training.engine import launch, on_main_process, repeatable
from domain_masks.training.experiment import Experiment
from domain_masks.training.finished import refuse_changes
from domain_masks.training.fit import fit
from domain_masks.training.method_checks import check_method
from domain_masks.training.opening import is_main_process
from domain_masks.training.origin import Origin
from domain_masks.training.phases import planned_epochs
from domain_masks.training.progress import Progress, read_progress
from domain_masks.training.saved import save_measured
from domain_masks.training.schedules import note_on_length
from domain_masks.training.state import Restored
from domain_masks.training.surroundings import as_in_a_fresh_process
from domain_masks.training.value_range import with_own_range


@dataclass(frozen=True)
class Run:
    """A finished run: its folder and the numbers it ended with."""

    folder: RunFolder
    results: Results

    @property
    def out_of_domain(self) -> float | None:
        """Accuracy on the held-out domains, in [0, 1]; None where none was held out."""
        return None if self.results.out_of_domain is None else self.results.out_of_domain["accuracy"]


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
            return _finished(folder, identified(opened, config, reporter, decode_images=False), config, reporter)
        restored = Restored.read(folder, config) if state == "resume" else None
        set_threads(fabric, config, restored.parts if restored is not None else ())
        # Of a run that goes on, what it began from may be gone.
        examined = examine(opened, config.workers, reporter, config.verify)
        inputs = inputs_now(config, examined.dataset, inputs_noted(folder) if state == "resume" else None)
        opened, left_out = _readable(examined, config, reporter, restored)
        opened = _with_the_runs_names(opened, config, folder, restored)
        config = with_own_range(config, opened, reporter)
        config = with_batch(config, opened, fabric, reporter)
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
        load_tensors(method, _best(folder, progress, method)["method"])
    results = _finish(experiment, progress, folder) if fabric.is_global_zero else None
    fabric.barrier()
    return Run(folder, results or Results.read(folder.results))


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

    - ``changes``: settings that differ from the run's own, such as where the dataset lies now
    - ``config_file``: a YAML in place of the run's own

    Raises RunFolderError where the folder holds no run with a checkpoint, InputError for settings that cannot be used.
    """
    reporter = reporter or ConsoleReporter()
    with as_in_a_fresh_process(reporter):
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
    config = as_begun(parse_config({**values, **changes, "devices": 1}), values)
    opened = load_dataset(config.dataset, config.root) if dataset is None else dataset
    last = load_checkpoint(folder.last)
    best = _best(folder, read_progress(last["progress"]))
    config = resolve(config, opened)
    restored = Restored(best["method"], last.get("facts", {}), parts=parts_of(last))
    examined = examine(opened, config.workers, reporter, config.verify)
    opened, _ = _readable(examined, config, reporter, restored)
    opened = _with_the_runs_names(opened, config, folder, restored)
    for name in lost_classes(opened, opened.classes):
        reporter.say(
            f"dataset {opened.name!r} has no images of the class {name!r}, which the run knows: none is measured"
        )
    fabric = launch(config)
    repeatable(config.deterministic)
    set_threads(fabric, config, restored.parts)
    experiment = Experiment(config, opened, fabric, reporter, restored)
    for line in experiment.changes:
        reporter.say(line)
    progress = read_progress(last["progress"])
    if not progress.is_complete(config, planned_epochs(config, experiment.method)) and not folder.is_finished:
        reporter.say(
            f"{folder.path} is not finished: these are the accuracies of its best epoch so far, and nothing is written"
        )
        return Run(folder, _measured(experiment, progress)[0])
    results = _finish(experiment, progress, folder)
    note_content(folder, content_of(examined.dataset))
    return Run(folder, results)


def _best(folder: RunFolder, progress: Progress, method: Method | None = None) -> dict[str, Any]:
    """Read ``best.ckpt``; raises RunFolderError that says why where no epoch could be chosen yet.

    With ``method`` the epoch has to be of the phase that the model comes from.
    """
    early = method is not None and not progress.has_reached_the_model(method)
    if not progress.is_fitted and (progress.best_epoch is None or early):
        raise RunFolderError(
            f"{folder.path} has no epoch yet that the model could be of: its method chooses among those of a later phase. "
            "Go on with --resume, and more time if --max_time ended it"
        )
    return load_checkpoint(folder.best)


def _finished(folder: RunFolder, dataset: ImageDataset, config: RunConfig, reporter: Reporter) -> Run:
    refuse_changes(folder, config, dataset)
    refuse_other_content(folder, content_of(dataset))
    reporter.say(f"{folder.path} holds a finished run: nothing to do")
    return Run(folder, Results.read(folder.results))


def _with_the_runs_names(
    dataset: ImageDataset, config: RunConfig, folder: RunFolder, restored: Restored | None
) -> ImageDataset:
    """Give classes and domains the positions that they had when the run, or the one that it starts from, was trained.

    Raises InputError that names classes and domains that a run which goes on does not know.
    """
    if restored is None:
        if config.init_from is None:
            return dataset
        classes = Origin.read(config.init_from).card["classes"]
        # Where these are others, what to do about it depends on the method.
        same = sorted(classes) == sorted(dataset.classes)
        return aligned(dataset, classes, dataset.domains, str(config.init_from)) if same else dataset
    known = restored.facts
    if "classes" not in known:
        # Of an older version; before the run has ended nothing says what they were.
        card = read_card(folder.path) if folder.model_card.is_file() else {}
        known = {"classes": card.get("classes"), "domains": [*card.get("sources", ()), *card.get("targets", ())]}
    classes, domains = known["classes"] or dataset.classes, known["domains"] or dataset.domains
    return aligned(dataset, classes, domains, f"the run in {folder.path}")


def _readable(
    examined: Examined, config: RunConfig, reporter: Reporter, restored: Restored | None
) -> tuple[ImageDataset, list[str]]:
    """Leave out the images that cannot be read, and those that the run left out when it began; returns their names too."""
    dataset = examined.dataset
    gone = set(restored.facts.get("left_out", ())) if restored is not None else set()
    smaller = usable(examined, config, reporter, gone)
    return smaller, sorted({*dataset.ids} - {*smaller.ids}) if len(smaller) < len(dataset) else []


def _finish(experiment: Experiment, progress: Progress, folder: RunFolder) -> Results:
    """Measure the method and write predictions, model and results; the results last, which say that the run is done."""
    results, predictions = _measured(experiment, progress)
    predictions.save(folder.predictions)
    save_measured(folder.path, experiment, predictions, _card(experiment, results))
    results.write(folder.results)
    folder.failure.unlink(missing_ok=True)
    return results


def _measured(experiment: Experiment, progress: Progress) -> tuple[Results, Predictions]:
    began = time.monotonic()
    classifier = add_domain_classifier(experiment)
    predictions = experiment.predictions()
    config, splits = experiment.config, experiment.splits
    masks = {site: mask_statistics(logits, splits.sources) for site, logits in experiment.method.mask_logits().items()}
    measured = accuracies(predictions, _held_out_name(splits))
    nearest = nearest_accuracy(predictions)
    if config.fast:
        for accuracy in (*measured.values(), *([nearest] if nearest is not None else [])):
            accuracy["split"] = f"a sample of {accuracy['split']}"
    results = Results(
        dataset=splits.dataset.name,
        method=config.method_name,
        backbone=str(config.backbone),
        sources=list(splits.sources),
        targets=list(splits.targets),
        seed=config.seed,
        epochs_run=progress.epochs_done,
        best_epoch=progress.best_epoch,
        protocol={"selection": config.selection, "target_labels_used": False},
        nearest_source=nearest,
        notes=notes_of(masks, config.lr if config.lr_masks is None else config.lr_masks) or None,
        masks=masks or None,  # type: ignore[arg-type]
        seconds={
            **({"preparation": round(preparation, 3)} if (preparation := experiment.facts.get("preparation")) else {}),
            "training": round(progress.seconds, 3),
            "evaluation": round(time.monotonic() - began, 3),
        },
        out_of_domain=measured.get("out_of_domain"),
        in_domain=measured.get("in_domain"),
        known_domain=measured.get("known_domain"),
        more={} if classifier is None else {"domain_classifier": classifier},
    )
    return results, predictions


def _held_out_name(splits: DomainSplits) -> str:
    """Say which pictures of the held-out domains were measured: all of them, or their official test list."""
    held = [splits.dataset.domains.index(name) for name in splits.targets]
    return "all" if len(splits.held_out) == int(np.isin(splits.dataset.domain_indices, held).sum()) else "test"


def describe(experiment: Experiment) -> str:
    """Return in one paragraph what a run will do."""
    config, splits = experiment.config, experiment.splits
    held = ", ".join(splits.targets) or "none"
    start = ""
    if config.init_from is not None:
        learned = (
            f"; learns the masks of {', '.join(experiment.facts['learned_sources'])} alone"
            if config.learn == "masks"
            else ""
        )
        start = f"\nstarts from {config.init_from}{learned}"
    sites = ", ".join(site.name for site in experiment.method.network.sites)
    epochs = f"{config.epochs} epoch{'s' if config.epochs != 1 else ''}"
    if config.fast:
        phases = len(experiment.method.phases())
        each = "one epoch" if phases == 1 else f"{phases} phases of one epoch"
        epochs = f"a smoke run: {each} of two batches, a sample of the images evaluated"
    if experiment.method.is_closed_form():
        epochs = f"fitted at once{', to some images of every class' if config.fast else ''},"
    return (
        f"{config.method_name} on {splits.dataset.name}, held out: {held}; sources: {', '.join(splits.sources)}\n"
        f"{len(splits.train)} training, {len(splits.validation)} validation, {len(splits.held_out)} held-out pictures at "
        f"{experiment.preprocessing.size} pixels; {config.backbone} ({config.weights}), task network from "
        f"{experiment.method.network.boundary}{', masks on ' + sites if sites else ''}"
        f"{'; features frozen' if config.freeze_features else ''}; {epochs} on {experiment.fabric.device}{start}"
    )


def _card(experiment: Experiment, results: Results) -> dict[str, Any]:
    written, config, splits = results.to_dict(), experiment.config, experiment.splits
    numbers = {name: written[name] for name in ("out_of_domain", "in_domain", "known_domain") if name in written}
    # Of a file of weights its name alone: the card may be published.
    weights = str(config.weights)
    training = {
        "weights": weights if weights in ("imagenet", "none") else Path(weights).name,
        "pictures": len(splits.train),
        "epochs_run": results.epochs_run,
        "seed": results.seed,
    }
    return {
        "dataset": results.dataset,
        "targets": results.targets,
        "trained_on": experiment.facts["trained_on"],
        "network": experiment.architecture.to_dict(),
        "preprocessing": experiment.preprocessing.to_dict(),
        "protocol": written["protocol"],
        "training": training,
        "accuracies": numbers,
        **{name: written[name] for name in ("nearest_source", "masks") if name in written},
    }
