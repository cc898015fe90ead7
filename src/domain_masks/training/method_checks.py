"""Checks of a method against its settings, before a run writes anything."""

from __future__ import annotations

import copy
from dataclasses import replace

from domain_masks.batch import DomainBatch
from domain_masks.errors import InputError, combine_errors
from domain_masks.methods import Method
from domain_masks.methods.prediction_parity import require_prediction_without_training
from domain_masks.methods.training_only import check_training_only
from domain_masks.records.config import RunConfig
from domain_masks.settings.by_method import batch_mistakes
from domain_masks.training.checkpoint_state import CheckpointState
from domain_masks.training.class_weighting import UnweightedError
from domain_masks.training.engine import TrainingEngine
from domain_masks.training.experiment import Experiment
from domain_masks.training.freezing import FrozenEpochs
from domain_masks.training.optimizers import trained_groups
from domain_masks.training.phases import plan_phases, planned_epochs
from domain_masks.training.run_progress import plan_of


def check_method(experiment: Experiment, restored: CheckpointState | None) -> None:
    """Raise InputError where a run of the experiment would not train what its settings say.

    These are parameters that no optimiser or two optimisers would train, too few epochs for the method's phases, batches
    that are too small, class weights or label smoothing that no step uses, and training-only modules that predictions need.
    """
    method, config = experiment.method, experiment.config
    check_training_only(method)
    if method.is_closed_form():
        return
    # Checked again, as `--batch auto` is resolved by now.
    if wrong := batch_mistakes(config, type(method), len(method.context.sources)):
        raise combine_errors(wrong)
    require_prediction_without_training(method)
    if not any(trained_groups(method).values()) and type(method).step is Method.step:
        raise InputError(f"method {method.name!r} has nothing to train: every parameter is frozen")
    epochs = planned_epochs(config, method)
    _check_freezing(method, config, epochs)
    if restored is None:
        plan_phases(method, epochs)
        if method.context.class_weights is not None or method.context.label_smoothing:
            _try_a_step(experiment)
    else:
        plan_of(restored.progress, restored.epochs, method, epochs)


def _check_freezing(method: Method, config: RunConfig, epochs: int) -> None:
    frozen = FrozenEpochs(method, config.freeze_epochs, config.unfreeze_every)
    if config.freeze_epochs and not frozen.layers:
        raise InputError(
            f"freeze_epochs: method {method.name!r} trains nothing below the boundary {method.network.boundary!r}: choose a "
            "later --boundary, or leave it out"
        )
    if config.unfreeze_every and not config.fast and frozen.last_start >= epochs:
        raise InputError(
            f"unfreeze_every: the {len(frozen.layers)} layers below boundary {method.network.boundary!r} are trained one by "
            f"one, all from epoch {frozen.last_start + 1} on: expected as many epochs or more, got {epochs}. Use more epochs, "
            "fewer freeze_epochs, a smaller unfreeze_every, or an earlier boundary, which has fewer layers below it"
        )


def _try_a_step(experiment: Experiment) -> None:
    """Take one step with a copy of the method; raises InputError where it leaves out class weights or label smoothing.

    Other errors are ignored, as the run raises them again with more context.
    """
    config = experiment.config.model_copy(update={"accumulate": 1})
    try:
        batch = _first_batch(experiment)
        twin = copy.deepcopy(experiment.method).train()
        engine = TrainingEngine(experiment.fabric, twin, config, max(2, planned_epochs(config, twin)), 1)
        engine.begin(0, 0)
        if batch.random is not None:
            with engine.autocast(), batch.random.seeded("layers", experiment.fabric.device):
                twin.step(batch, engine)
    except UnweightedError:
        raise
    except Exception:
        return


def _first_batch(experiment: Experiment) -> DomainBatch:
    # Without workers, as it is one batch; of images, as frozen features may not be computed yet.
    loader = experiment.image_loader(experiment.loader_settings(workers=0))
    batch = experiment.prepare(next(iter(loader)))
    if batch.images is None or experiment.features is None:
        return batch
    features = experiment.method.network.frozen_features(batch.images)
    return replace(batch, images=None, features=features.float())
