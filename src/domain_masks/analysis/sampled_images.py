"""Ablation on a sample of the images of a run, with its model and dataset loaded again."""

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
"""Kept from earlier versions, so that repeating an analysis takes the same samples."""


def sample(parts: Mapping[str, Predictions], count: int | None, seed: int = 0) -> Predictions:
    """Return about ``count`` of the samples, equally many of each domain, stratified by class.

    The choice is keyed by (seed, domain) and the same for every run on a dataset. None takes all. A domain with too few
    samples contributes all of them, and the others make up the difference. Samples keep their order within a domain.
    """
    if count is None or count >= sum(map(len, parts.values())):
        return Predictions.concatenate(list(parts.values()))
    remaining, chosen = count, {}
    smallest_first = sorted(parts, key=lambda domain: len(parts[domain]))
    for position, domain in enumerate(smallest_first):
        share = min(len(parts[domain]), round(remaining / (len(parts) - position)))
        order = generator(seed, f"{_STREAM}/{domain}")
        chosen[domain] = parts[domain].rows(_stratified(parts[domain].labels, share, order))
        remaining -= share
    return Predictions.concatenate([chosen[domain] for domain in parts])


def _stratified(labels: NDArray[np.int64], count: int, order: torch.Generator) -> NDArray[np.intp]:
    """Return the sorted positions of ``count`` samples, stratified by class."""
    shuffled = torch.randperm(len(labels), generator=order).numpy()
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    # Evenly spaced over the samples sorted by class: each class gets its share, to within one sample.
    places = ((np.arange(count) + 0.5) * len(labels) / max(1, count)).astype(np.intp)
    return np.sort(by_class[places])


def rows_of(dataset: ImageDataset, ids: Sequence[str]) -> NDArray[np.int64]:
    """Return the row of every id in ``dataset``, (N,); -1 if it is missing."""
    row_of = {name: row for row, name in enumerate(dataset.ids)}
    return np.array([row_of.get(str(name), -1) for name in ids], dtype=np.int64)


def ablate(
    folder: RunFolder, dataset: ImageDataset, chosen: Predictions, device: torch.device, reporter: Reporter
) -> tuple[Ablation, list[str]]:
    """Return the ablation on the images of ``chosen``, and notes.

    Raises InputError if the method has no masks, all images are missing, or one cannot be read; RunFolderError if the model
    cannot be loaded.
    """
    method, card = load_model(folder.path)
    rows = rows_of(dataset, chosen.ids.tolist())
    notes = []
    if (rows < 0).any():
        notes.append(f"ablation: {int((rows < 0).sum())} of {len(rows)} images are no longer in the dataset")
        chosen, rows = chosen.rows(rows >= 0), rows[rows >= 0]
    if not len(rows):
        raise InputError(f"none of the run's images is in dataset {dataset.name!r}: give the right one with --dataset")
    predicted, ablation = _measured(method, dataset, card, chosen, device, reporter)
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
    method: Method,
    dataset: ImageDataset,
    card: ModelCard,
    chosen: Predictions,
    device: torch.device,
    reporter: Reporter,
) -> tuple[NDArray[np.int64], Ablation]:
    """Return the classes predicted without zeroed units, (N,), and the ablation."""
    network = method.network
    if not isinstance(network, MaskedNetwork):
        raise InputError(f"method {method.name!r} has no masks, so there are no units to zero")
    method.to(device).eval()
    logits: Masks = {site: values.detach() for site, values in method.mask_logits().items()}
    choices = list(variants(logits))
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
    tracked = reporter.track(_estimating(batches, count, reporter), count, f"ablation with {len(choices)} masks")
    predicted, _ = measure(
        tracked, features, lambda inputs, masks: average(network.soft_logits(inputs, masks), how), logits, choices
    )
    domains = {name: chosen.domains == chosen.domain_names.index(name) for name in reporting_splits(chosen)}
    ablation = Ablation(
        split=reporting_splits(chosen),
        images={name: int(members.sum()) for name, members in domains.items()},
        rows=ablation_rows(choices, predicted == chosen.labels, domains),
    )
    return predicted[0], ablation
