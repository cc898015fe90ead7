"""A method's predictions over many batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from domain_masks.batch import DomainBatch
from domain_masks.methods.base import Method


class Predicted(NamedTuple):
    """A method's predictions for N rows.

    - ``logits``: ensemble -> (N, C); ``ids``: sample ids (N,), in the order of the batches
    - ``domains``: (N, D), probability of each source by the domain classifier; None if the method has none
    """

    logits: dict[str, NDArray[np.float32]]
    ids: NDArray[np.int64]
    domains: NDArray[np.float32] | None


def predict_batches(
    method: Method, batches: Iterable[DomainBatch], prepare: Callable[[DomainBatch], DomainBatch]
) -> Predicted:
    """Run a method in evaluation mode over all batches.

    - ``prepare``: moves a batch to the method's device and normalises its images

    The method's previous mode is restored.
    """
    collected: dict[str, list[NDArray[np.float32]]] = {}
    domains: list[NDArray[np.float32]] = []
    ids = []
    training = method.training
    method.eval()
    try:
        with torch.inference_mode():
            for batch in batches:
                prepared = prepare(batch)
                if method.domain_classifier is not None:
                    features = method.boundary_features(prepared)
                    probabilities = method.domain_classifier(method.network.pooled(features))
                    domains.append(probabilities.float().cpu().numpy())
                    # Reuse the features, so that F runs once.
                    prepared = replace(prepared, features=features)
                for ensemble, logits in method.predict(prepared).items():
                    collected.setdefault(ensemble, []).append(logits.float().cpu().numpy())
                ids.append(batch.ids.cpu().numpy())
    finally:
        method.train(training)
    if not ids:
        return Predicted({}, np.zeros(0, dtype=np.int64), None)
    logits_of = {name: np.concatenate(parts) for name, parts in collected.items()}
    return Predicted(logits_of, np.concatenate(ids), np.concatenate(domains) if domains else None)
