"""The lines that a run prints before its first step: a summary, and notes on its settings, images and checkpoint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from lightning_fabric import Fabric

from domain_masks.data import DomainSplits
from domain_masks.data.learned_images import learned_images
from domain_masks.data.splits import unmeasured_sources
from domain_masks.records.counts import first_of
from domain_masks.records.identity import plugins_changed, revised_since
from domain_masks.records.results import OFFICIAL
from domain_masks.torchrun import torchrun
from domain_masks.training.checkpoint_state import CheckpointState
from domain_masks.training.conditions import conditions, note
from domain_masks.training.defaults import notes
from domain_masks.training.experiment import Experiment
from domain_masks.training.initial_model import InitialModel
from domain_masks.training.number_formats import faster_formats

_SHOWN_DOMAINS = 5
_PLUGIN_CHANGED = (
    "note: the code of a plugin has changed since the run was started: it is resumed with the code as it is now, and keeps the "
    "identity that it had"
)


def announcement(
    experiment: Experiment, inputs: Mapping[str, Any], checkpoint: CheckpointState | None
) -> Iterator[str]:
    """Yield the lines that a run prints before its first step; ``inputs`` were recorded when the run was started."""
    config = experiment.config
    yield _summary(experiment)
    if config.in_domain_test != OFFICIAL and experiment.splits.test is not None:
        yield (
            f"note: {len(experiment.splits.test)} of the dataset's validation images, drawn by split_seed {config.split_seed}, "
            f"are the in-domain test images ({config.in_domain_test}); the other {len(experiment.splits.validation)} select"
        )
    yield from notes(config, experiment.splits.dataset)
    if config.init_from is not None and checkpoint is None:
        yield from InitialModel.read(config.init_from).notes_on_images(experiment.preprocessing)
    yield from (
        f"note: {line}" for line in (*learned_images(experiment.splits), *unmeasured_sources(experiment.splits))
    )
    yield from _missing_classes(experiment.splits)
    yield from _left_out(experiment)
    if plugins_changed(config, inputs):
        yield _PLUGIN_CHANGED
    if hint := faster_formats(config, experiment.method.network.network, experiment.fabric.device):
        yield hint
    yield from experiment.changes
    for line in revised_since(config, inputs):
        yield f"note: started by an older version, resumed as now: {line}"
    if checkpoint is not None and (differing := note(checkpoint.parts, conditions(experiment.fabric))):
        yield differing


def _missing_classes(splits: DomainSplits) -> Iterator[str]:
    """Yield a note where a source domain has no training images of a class that another one has."""
    train, classes = splits.train, splits.dataset.classes
    shown = {
        domain: np.unique(train.labels[train.domain_indices == splits.dataset.domains.index(domain)])
        for domain in splits.sources
    }
    missing = [
        f"{domain} of {first_of([classes[label] for label in absent])}"
        for domain, labels in shown.items()
        if (absent := np.setdiff1d(train.labels, labels)).size
    ]
    if missing:
        more = "; ..." if len(missing) > _SHOWN_DOMAINS else ""
        yield f"note: source domains without training images of a class: {'; '.join(missing[:_SHOWN_DOMAINS])}{more}"


def _left_out(experiment: Experiment) -> Iterator[str]:
    """Yield a note where one process would learn from a last batch that several leave out."""
    config, processes = experiment.config, experiment.fabric.world_size
    rows = len(experiment.learned_from()) % config.batch_size
    if config.sampling == "pooled" and 1 < rows < processes and not experiment.method.is_closed_form():
        yield (
            f"note: the last batch of an epoch has {rows} images, too few for {processes} processes, and is left out: the run "
            "depends on the number of processes. Another --batch gives it more"
        )


def _where(fabric: Fabric) -> str:
    """Return on which devices a run computes, in words."""
    if fabric.world_size == 1:
        return str(fabric.device)
    launched = torchrun()
    nodes = f" on {launched.nodes} nodes" if launched is not None and launched.nodes > 1 else ""
    return f"{fabric.world_size} processes{nodes}, a {fabric.device.type} device each"


def _summary(experiment: Experiment) -> str:
    """Return a summary of the run in one paragraph."""
    config, splits = experiment.config, experiment.splits
    held = ", ".join(splits.targets) or "none"
    start = ""
    if config.init_from is not None:
        learned = (
            f"; learns the masks of {', '.join(experiment.provenance.learned_sources)} alone"
            if config.learn == "masks"
            else ""
        )
        start = f"\nstarts from {config.init_from}{learned}"
    sites = ", ".join(site.name for site in experiment.method.network.sites)
    kind = "masks" if experiment.method.has_masks() else "adapters"
    epochs = f"{config.epochs} epoch{'s' if config.epochs != 1 else ''}"
    if config.fast:
        phases = len(experiment.method.phases())
        each = "one epoch" if phases == 1 else f"{phases} phases of one epoch"
        epochs = f"a smoke run: {each} of two batches, a sample of the images evaluated"
    if experiment.method.is_closed_form():
        epochs = f"fitted in closed form{', to some images of every class' if config.fast else ''},"
    return (
        f"{config.method_name} on {splits.dataset.name}, held out: {held}; sources: {', '.join(splits.sources)}\n"
        f"{len(splits.train)} training, {len(splits.validation)} validation, {len(splits.held_out)} held-out images at "
        f"{experiment.preprocessing.size} pixels; {config.backbone} ({config.weights}), upper layers from "
        f"{experiment.method.network.boundary}{f', {kind} on {sites}' if sites else ''}"
        f"{'; features frozen' if config.freeze_features else ''}; {epochs} on {_where(experiment.fabric)}{start}"
    )
