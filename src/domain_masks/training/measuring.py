"""The end of a run: predictions, results and the saved model."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TypeVar

import numpy as np

from domain_masks.data import DomainSplits
from domain_masks.data.learned_images import learned_images
from domain_masks.data.splits import unmeasured_sources, untrained_classes
from domain_masks.evaluation import accuracies, fitted_temperatures, metrics, nearest_accuracy, top1
from domain_masks.masks import mask_statistics
from domain_masks.records import Predictions, Results, RunFolder
from domain_masks.records.ensemble_names import PREDICTION_ENSEMBLE
from domain_masks.records.measured_metrics import FittedTemperature
from domain_masks.records.model_card import CardTraining, ModelDescription
from domain_masks.records.results import (
    LEARNED_IMAGES,
    LEARNED_NOTHING,
    OFFICIAL,
    OUT_OF_DOMAIN,
    STATISTICS_KEPT,
    STOPPED_BY_CALLBACK,
    UNMEASURED_SOURCES,
    UNTRAINED_CLASSES,
    Accuracies,
    AveragedWeights,
    NearestAccuracy,
    Note,
    SelectionProtocol,
    SiteMasks,
    notes_of,
)
from domain_masks.records.test_time import AtTestTime
from domain_masks.training.domain_classifier import add_domain_classifier
from domain_masks.training.experiment import Experiment
from domain_masks.training.recalibration import recalibrate
from domain_masks.training.run_progress import Progress
from domain_masks.training.saved_model_check import save_measured
from domain_masks.training.test_time import predictions_at_test_time

_Measured = TypeVar("_Measured", Accuracies, NearestAccuracy)
_NOT_RECALIBRATED = Note(
    about=STATISTICS_KEPT,
    text="--recalibrate_bn changed nothing: the upper layers have no batch norm whose statistics all domains share",
)


def finish(experiment: Experiment, progress: Progress, folder: RunFolder) -> Results:
    """Evaluate the method and write predictions, model and results; the results last, as they mark the run as done."""
    results, predictions = measure(experiment, progress)
    predictions.save(folder.predictions)
    save_measured(folder.path, experiment, predictions, _description(experiment, results))
    results.write(folder.results)
    folder.failure.unlink(missing_ok=True)
    return results


def measure(
    experiment: Experiment, progress: Progress, test_time: AtTestTime | None = None
) -> tuple[Results, Predictions]:
    """Return the results of a run and the predictions that they are computed from; writes nothing.

    - ``test_time``: an option of predicting, which results and splits then name; such results have no temperatures and no
      nearest source, which are of ordinary predictions
    """
    began = time.monotonic()
    recalibrated = recalibrate(experiment)
    classifier = add_domain_classifier(experiment)
    predictions = experiment.predictions() if test_time is None else predictions_at_test_time(experiment, test_time)
    config, splits = experiment.config, experiment.splits
    mask_logits = experiment.method.mask_logits()
    masks = {
        site: SiteMasks.model_validate(mask_statistics(logits, splits.sources)) for site, logits in mask_logits.items()
    }
    # Masks that are not learned, as in the ablations, do not leave their start.
    learned = masks if any(logits.requires_grad for logits in mask_logits.values()) else None
    measured = accuracies(predictions, _held_out_name(splits))
    temperatures = _temperatures(experiment, predictions) if test_time is None else {}
    nearest = nearest_accuracy(predictions) if test_time is None else None
    if config.in_domain_test != OFFICIAL:
        measured = {
            name: part if name == OUT_OF_DOMAIN else _named(part, config.in_domain_test)
            for name, part in measured.items()
        }
        nearest = None if nearest is None else _named(nearest, config.in_domain_test)
    if config.fast:
        measured = {name: _of_a_sample(part) for name, part in measured.items()}
        nearest = None if nearest is None else _of_a_sample(nearest)
    if test_time is not None:
        measured = {name: _named(part, f"{part.split}, {test_time.name}") for name, part in measured.items()}
    results = Results(
        dataset=splits.dataset.name,
        method=config.method_name,
        backbone=str(config.backbone),
        sources=list(splits.sources),
        targets=list(splits.targets),
        seed=config.seed,
        epochs_run=progress.epochs_done,
        best_epoch=progress.best_epoch,
        average=None if progress.average is None else AveragedWeights.model_validate(progress.average),
        protocol=SelectionProtocol(
            selection=config.selection,
            target_labels_used=False,
            in_domain_test=None if config.in_domain_test == OFFICIAL else config.in_domain_test,
            test_time=None if test_time is None else test_time.in_words(),
        ),
        nearest_source=nearest,
        notes=[
            *notes_of(learned, config.learning_rate if config.lr_masks is None else config.lr_masks),
            *(Note(about=LEARNED_IMAGES, text=line) for line in learned_images(splits)),
            *(Note(about=UNTRAINED_CLASSES, text=line) for line in untrained_classes(splits)),
            *(Note(about=UNMEASURED_SOURCES, text=line) for line in unmeasured_sources(splits)),
            # Class weights trade the accuracy on frequent classes for that on rare ones.
            *([] if config.fast or config.class_weights != "none" else _learned_nothing(predictions)),
            *([_NOT_RECALIBRATED] if config.recalibrate_bn and not recalibrated else []),
            *_stopped(progress),
        ]
        or None,
        masks=masks or None,
        seconds={
            **({"preparation": round(preparation, 3)} if (preparation := experiment.provenance.preparation) else {}),
            "training": round(progress.seconds, 3),
            "evaluation": round(time.monotonic() - began, 3),
        },
        out_of_domain=measured.get("out_of_domain"),
        in_domain=measured.get("in_domain"),
        known_domain=measured.get("known_domain"),
        metrics=metrics(predictions, temperatures),
        temperatures=temperatures or None,
        domain_classifier=classifier,
    )
    return results, predictions


def _temperatures(experiment: Experiment, predictions: Predictions) -> dict[str, FittedTemperature]:
    """Return the temperature of each ensemble; empty where the setting ``calibrate`` is off."""
    if not experiment.config.calibrate:
        return {}
    fitted = fitted_temperatures(predictions)
    if missing := [name for name in predictions.ensembles if name not in fitted]:
        experiment.reporter.say(
            f"no temperature of {', '.join(missing)}: the sources' validation images are all predicted correctly, or no better "
            "than by chance, and do not determine one"
        )
    return fitted


def _of_a_sample(measured: _Measured) -> _Measured:
    return _named(measured, f"a sample of {measured.split}")


def _named(measured: _Measured, split: str) -> _Measured:
    return measured.model_copy(update={"split": split})


def _held_out_name(splits: DomainSplits) -> str:
    """Return which images of the held-out domains were evaluated: ``all``, or the official ``test`` list."""
    held = [splits.dataset.domains.index(name) for name in splits.targets]
    return "all" if len(splits.held_out) == int(np.isin(splits.dataset.domain_indices, held).sum()) else "test"


def _learned_nothing(predictions: Predictions) -> list[Note]:
    """Return a note where predicting the most frequent class would be as accurate on the sources' validation images."""
    selected = predictions.select(split="validation")
    if not len(selected):
        return []
    counts = np.bincount(selected.labels, minlength=len(predictions.classes))
    accuracy, constant = top1(selected.of(PREDICTION_ENSEMBLE), selected.labels), counts.max() / len(selected)
    if accuracy > constant:
        return []
    text = (
        f"the model is no better on the sources' validation images than predicting {predictions.classes[counts.argmax()]!r} "
        f"for all of them (here {100 * accuracy:.1f} %, and {100 * constant:.1f} %): if the training loss in metrics.csv does "
        "not fall, try a lower --lr; if it still falls, more --epochs"
    )
    return [Note(about=LEARNED_NOTHING, text=text)]


def _stopped(progress: Progress) -> list[Note]:
    if not progress.stopped_by:
        return []
    text = f"training was stopped after epoch {progress.epochs_done} by the callback {progress.stopped_by}, which is no setting"
    return [Note(about=STOPPED_BY_CALLBACK, text=text)]


def _description(experiment: Experiment, results: Results) -> ModelDescription:
    config = experiment.config
    # Only the name of a weights file: the card may be published.
    weights = str(config.weights)
    accuracies = {name: getattr(results, name) for name in ("out_of_domain", "in_domain", "known_domain")}
    return ModelDescription(
        dataset=results.dataset,
        targets=results.targets,
        trained_on=experiment.provenance.trained_on,
        network=experiment.architecture.to_dict(),
        preprocessing=experiment.preprocessing.to_dict(),
        protocol=results.protocol,
        training=CardTraining(
            weights=weights if weights in ("imagenet", "none") else Path(weights).name,
            images=len(experiment.splits.train),
            epochs_run=results.epochs_run,
            seed=results.seed,
            average=results.average,
        ),
        accuracies={name: measured for name, measured in accuracies.items() if measured is not None},
        nearest_source=results.nearest_source,
        temperatures=results.temperatures or {},
        masks=results.masks or {},
    )
