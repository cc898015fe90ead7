"""Checks that the saved model of a run gives the predictions that were measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from domain_masks.batch import DomainBatch
from domain_masks.data import Preprocessing, Subset, evaluation_batches
from domain_masks.errors import InputError, ParityError
from domain_masks.methods import Method
from domain_masks.methods.prediction import predict_batches
from domain_masks.methods.prediction_parity import largest_difference, tolerance
from domain_masks.methods.saving import save_model
from domain_masks.records import Predictions
from domain_masks.records.model_card import ModelDescription
from domain_masks.training.experiment import Experiment

IMAGES = 8
_ROUNDED = {"32": 0.0, "16": 0.05, "bf16": 0.1}
"""Allowed difference in lower precision, relative to the largest logit."""
_FROZEN = 0.02
"""Allowed difference with frozen features in half precision."""


def save_measured(
    folder: Path, experiment: Experiment, predictions: Predictions, description: ModelDescription
) -> None:
    """Write the model of a run after checking that it predicts a few images, loaded again, as they were measured.

    Images are prepared as in ``description``. Raises ParityError where predictions differ; an earlier model is then kept.
    """
    config = experiment.config
    allowed = tolerance(experiment.fabric.device) + _ROUNDED[config.precision]
    allowed += 0.0 if experiment.features is None else _FROZEN

    def require_measured(method: Method) -> None:
        try:
            difference, count = _difference(method, experiment, predictions, description)
        except InputError as error:
            experiment.reporter.say(f"note: the saved model was not compared with what was measured: {error}")
            return
        if not difference <= allowed:
            reason = "Images that were changed meanwhile can be the reason: measure it again with `dmg evaluate`"
            if experiment.features is not None:
                reason = f"The features in {experiment.features.folder} may be of other images: remove that folder and repeat"
            raise ParityError(
                f"the model of the run in {folder} is not kept, and its numbers are not written: read back, it does not "
                f"predict what was measured (on {count} images its logits differ by {difference:.2g} of the largest, allowed "
                f"are {allowed:.2g}). {reason}"
            )

    save_model(folder, experiment.method, str(config.backbone), description, require_measured)


def _difference(
    method: Method, experiment: Experiment, predictions: Predictions, description: ModelDescription
) -> tuple[float, int]:
    """Return the largest difference of logits, relative to the largest logit, and the number of compared images.

    Raises InputError where an image can no longer be read.
    """
    dataset, device = experiment.splits.dataset, experiment.fabric.device
    places = np.unique(np.linspace(0, len(predictions.ids) - 1, IMAGES).astype(int))
    row_of = {name: row for row, name in enumerate(dataset.ids)}
    subset = Subset(dataset, [row_of[str(name)] for name in predictions.ids[places]])
    preprocessing = Preprocessing.from_dict(description.preprocessing or {})

    def prepare(batch: DomainBatch) -> DomainBatch:
        moved = batch.to(device)
        return moved if moved.images is None else replace(moved, images=preprocessing.normalize(moved.images))

    batches = evaluation_batches(subset, preprocessing, len(places), with_labels=False)
    with experiment.fabric.autocast():
        logits, *_ = predict_batches(method, batches, prepare)
    expected = {name: torch.from_numpy(values[places]) for name, values in predictions.logits.items()}
    return largest_difference(expected, {name: torch.from_numpy(values) for name, values in logits.items()}), len(
        places
    )
