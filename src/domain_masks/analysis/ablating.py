"""The ablation measured on a sample of a run's images, with its model."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from domain_masks.analysis.ablation import Masks, ablation_rows, measure, variants
from domain_masks.analysis.opened_model import OpenedModel
from domain_masks.analysis.sampled_images import in_dataset, rows_of
from domain_masks.batch import DomainBatch
from domain_masks.data import ImageDataset, Subset, evaluation_batches
from domain_masks.errors import InputError
from domain_masks.evaluation import reporting_splits
from domain_masks.methods.base import average
from domain_masks.networks import MaskedNetwork
from domain_masks.progress import Reporter
from domain_masks.records import Predictions
from domain_masks.records.analysis import Ablation
from domain_masks.records.ensemble_names import PREDICTION_ENSEMBLE

BATCH = 64
SAME_PREDICTIONS = 0.98
WORTH_SAYING = 1.0  # minutes


def ablate(
    model: OpenedModel, dataset: ImageDataset, sampled: Predictions, reporter: Reporter
) -> tuple[Ablation, list[str]]:
    """Return the ablation on the images of ``sampled``, and notes.

    Raises InputError if the method has no masks, all images are missing, or one cannot be read.
    """
    chosen, gone = in_dataset(sampled, dataset)
    notes = [f"ablation: {gone} of {len(sampled)} images are no longer in the dataset"] if gone else []
    predicted, ablation = _measured(model, dataset, chosen, reporter)
    agreement = float((predicted == chosen.of(PREDICTION_ENSEMBLE).argmax(axis=1)).mean())
    if agreement < SAME_PREDICTIONS:
        notes.append(
            f"ablation: only {100 * agreement:.1f} % of the images get the class stored by the run: the dataset or the model "
            "has changed, so the ablation is not comparable with the other numbers"
        )
    return ablation, notes


def _estimating(batches: Iterable[DomainBatch], count: int, reporter: Reporter) -> Iterator[DomainBatch]:
    """Yield the batches; after the first, report the expected duration if it is long."""
    start = time.monotonic()
    for index, batch in enumerate(batches):
        if index == 1:
            minutes = (count - 1) * (time.monotonic() - start) / 60
            if minutes > WORTH_SAYING:
                reporter.say(
                    f"the ablation takes about {minutes:.0f} more minutes: a smaller --images is faster, --no_model skips it"
                )
        yield batch


def _measured(
    model: OpenedModel, dataset: ImageDataset, chosen: Predictions, reporter: Reporter
) -> tuple[NDArray[np.int64], Ablation]:
    """Return the classes predicted without zeroed units, (N,), and the ablation."""
    method, network = model.method, model.method.network
    if not isinstance(network, MaskedNetwork):
        raise InputError(f"method {method.name!r} has no masks, so there are no units to zero")
    logits: Masks = {site: values.detach() for site, values in method.mask_logits().items()}
    choices = list(variants(logits))
    how: Literal["logits", "probabilities"] = getattr(method.settings, "average", "logits")
    subset = Subset(dataset, rows_of(dataset, chosen.ids.tolist()))
    batches = evaluation_batches(subset, model.preprocessing, BATCH, with_labels=False)
    count = -(-len(subset) // BATCH)
    tracked = reporter.track(_estimating(batches, count, reporter), count, f"ablation with {len(choices)} masks")
    predicted, _ = measure(
        tracked, model.features, lambda inputs, masks: average(network.soft_logits(inputs, masks), how), logits, choices
    )
    domains = {name: chosen.domains == chosen.domain_names.index(name) for name in reporting_splits(chosen)}
    ablation = Ablation(
        split=reporting_splits(chosen),
        images={name: int(members.sum()) for name, members in domains.items()},
        rows=ablation_rows(choices, predicted == chosen.labels, domains),
    )
    return predicted[0], ablation
