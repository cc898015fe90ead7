"""The images behind stored predictions, and the model of a run, opened again."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from domain_masks.analysis.ablation import Masks, ablation_rows, measure, variants
from domain_masks.batch import DomainBatch
from domain_masks.data import ImageDataset, Preprocessing, Subset, evaluation_batches
from domain_masks.errors import InputError
from domain_masks.evaluation import reporting_splits
from domain_masks.methods.base import Method, average
from domain_masks.methods.saving import load_model
from domain_masks.networks import MaskedNetwork
from domain_masks.progress import Reporter
from domain_masks.randomness import generator
from domain_masks.records import Predictions, RunFolder
from domain_masks.records.analysis import Ablation
from domain_masks.records.ensemble_names import PREDICTION_ENSEMBLE
from domain_masks.records.model_card import ModelCard

BATCH = 64
SAME_PREDICTIONS = 0.98
WORTH_SAYING = 1.0  # minutes
_STREAM = "analysis/pictures"
"""Keyed as in every version, so that an analysis that is repeated takes the same samples."""


def sample(parts: Mapping[str, Predictions], count: int | None, seed: int = 0) -> Predictions:
    """Return about ``count`` of the samples, as many of every domain, divided by class as the domain is.

    Which ones is keyed by (seed, domain), the same for every run on a dataset. None takes all. A domain with fewer samples
    gives all it has, and leaves the rest to the others. The samples keep their order within a domain.
    """
    if count is None or count >= sum(map(len, parts.values())):
        return Predictions.concatenate(list(parts.values()))
    left, chosen = count, {}
    smallest_first = sorted(parts, key=lambda domain: len(parts[domain]))
    for position, domain in enumerate(smallest_first):
        share = min(len(parts[domain]), round(left / (len(parts) - position)))
        order = generator(seed, f"{_STREAM}/{domain}")
        chosen[domain] = parts[domain].rows(_stratified(parts[domain].labels, share, order))
        left -= share
    return Predictions.concatenate([chosen[domain] for domain in parts])


def _stratified(labels: NDArray[np.int64], count: int, order: torch.Generator) -> NDArray[np.intp]:
    """Return the sorted positions of ``count`` samples, every class in proportion to its size."""
    shuffled = torch.randperm(len(labels), generator=order).numpy()
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    # Evenly spaced over samples that are ordered by class: each class gets its part, to within one.
    places = ((np.arange(count) + 0.5) * len(labels) / max(1, count)).astype(np.intp)
    return np.sort(by_class[places])


def rows_of(dataset: ImageDataset, ids: Sequence[str]) -> NDArray[np.int64]:
    """Return the row of every id in ``dataset``, (N,); -1 for one that is not there."""
    table = {name: row for row, name in enumerate(dataset.ids)}
    return np.array([table.get(str(name), -1) for name in ids], dtype=np.int64)


def ablate(
    folder: RunFolder, dataset: ImageDataset, chosen: Predictions, device: torch.device, reporter: Reporter
) -> tuple[Ablation, list[str]]:
    """Return how the accuracy on the images of ``chosen`` falls when units are zeroed, and what is to be noted.

    Raises InputError where the method has no masks, no image is left, or one cannot be read; RunFolderError for a model
    that cannot be loaded.
    """
    method, card = load_model(folder.path)
    rows = rows_of(dataset, chosen.ids.tolist())
    notes = []
    if (rows < 0).any():
        notes.append(f"ablation: {int((rows < 0).sum())} of {len(rows)} images are no longer in the dataset")
        chosen, rows = chosen.rows(rows >= 0), rows[rows >= 0]
    if not len(rows):
        raise InputError(f"none of the run's images is in dataset {dataset.name!r}: name the right one by --dataset")
    predicted, ablation = _measured(method, dataset, card, chosen, device, reporter)
    same = float((predicted == chosen.of(PREDICTION_ENSEMBLE).argmax(axis=1)).mean())
    if same < SAME_PREDICTIONS:
        notes.append(
            f"ablation: only {100 * same:.1f} % of the images get the class again that the run stored: the dataset or the "
            "model has changed since, so that the numbers do not belong together"
        )
    return ablation, notes


def _estimating(batches: Iterable[DomainBatch], count: int, reporter: Reporter) -> Iterator[DomainBatch]:
    """Pass the batches on; after the first, say how long all will take, if that is long."""
    began = time.monotonic()
    for index, batch in enumerate(batches):
        if index == 1:
            minutes = (count - 1) * (time.monotonic() - began) / 60
            if minutes > WORTH_SAYING:
                reporter.say(
                    f"zeroing units will take about {minutes:.0f} minutes more here: a smaller --images is faster, "
                    "--no_model leaves it out"
                )
        yield batch


def _measured(
    method: Method,
    dataset: ImageDataset,
    card: ModelCard,
    chosen: Predictions,
    device: torch.device,
    reporter: Reporter,
) -> tuple[NDArray[np.int64], Ablation]:
    """Return the classes that the whole model predicts, (N,), and the ablation."""
    network = method.network
    if not isinstance(network, MaskedNetwork):
        raise InputError(f"method {method.name!r} has no masks, so that none of their units can be zeroed")
    method.to(device).eval()
    logits: Masks = {site: values.detach() for site, values in method.mask_logits().items()}
    what = list(variants(logits))
    preprocessing = Preprocessing.from_dict(card.preprocessing or {})
    how: Literal["logits", "probabilities"] = getattr(method.settings, "average", "logits")
    subset = Subset(dataset, rows_of(dataset, chosen.ids.tolist()))

    def features(batch: DomainBatch) -> torch.Tensor:
        moved = batch.to(device)
        if moved.images is None:
            raise ValueError("expected a batch with images, got none")
        return method.boundary_features(replace(moved, images=preprocessing.normalize(moved.images)))

    batches = evaluation_batches(subset, preprocessing, BATCH, with_labels=False)
    count = -(-len(subset) // BATCH)
    tracked = reporter.track(_estimating(batches, count, reporter), count, f"zeroing units in {len(what)} ways")
    predicted, _ = measure(
        tracked, features, lambda own, masks: average(network.soft_logits(own, masks), how), logits, what
    )
    domains = {name: chosen.domains == chosen.domain_names.index(name) for name in reporting_splits(chosen)}
    ablation = Ablation(
        split=reporting_splits(chosen),
        images={name: int(own.sum()) for name, own in domains.items()},
        rows=ablation_rows(what, predicted == chosen.labels, domains),
    )
    return predicted[0], ablation
