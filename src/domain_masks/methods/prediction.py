"""A method's predictions over many batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from domain_masks.batch import DomainBatch
from domain_masks.methods.base import Method


class BatchOutput(NamedTuple):
    """A method's output for a batch of N rows.

    - ``logits``: ensemble -> (N, C)
    - ``domains``: (N, D), probability of each source by the domain classifier; None if the method has none
    """

    logits: dict[str, Tensor]
    domains: Tensor | None


def output_of(method: Method, batch: DomainBatch) -> BatchOutput:
    """Return a method's output for a prepared batch; F runs once, also for a domain classifier."""
    if method.domain_classifier is None:
        return BatchOutput(method.predict(batch), None)
    features = method.boundary_features(batch)
    probabilities = method.domain_classifier(method.network.pooled(features))
    return BatchOutput(method.predict(replace(batch, features=features)), probabilities)


class Predicted(NamedTuple):
    """A method's predictions for N rows.

    - ``logits``: ensemble -> (N, C); ``ids``: sample ids (N,), in the order of the batches
    - ``domains``: (N, D), probability of each source by the domain classifier; None if the method has none
    """

    logits: dict[str, NDArray[np.float32]]
    ids: NDArray[np.int64]
    domains: NDArray[np.float32] | None


def predict_batches(
    method: Method,
    batches: Iterable[DomainBatch],
    prepare: Callable[[DomainBatch], DomainBatch],
    output: Callable[[Method, DomainBatch], BatchOutput] = output_of,
    *,
    with_gradients: bool = False,
) -> Predicted:
    """Run a method in evaluation mode over all batches.

    - ``prepare``: moves a batch to the method's device and normalises its images
    - ``output``: the output of the method for a prepared batch; ``with_gradients``: whether it needs gradients itself

    The method's previous mode is restored.
    """
    collected: dict[str, list[NDArray[np.float32]]] = {}
    domains: list[NDArray[np.float32]] = []
    ids = []
    training = method.training
    method.eval()
    try:
        with torch.inference_mode(not with_gradients):
            for batch in batches:
                found = output(method, prepare(batch))
                if found.domains is not None:
                    domains.append(found.domains.float().cpu().numpy())
                for ensemble, logits in found.logits.items():
                    collected.setdefault(ensemble, []).append(logits.float().cpu().numpy())
                ids.append(batch.ids.cpu().numpy())
    finally:
        method.train(training)
    if not ids:
        return Predicted({}, np.zeros(0, dtype=np.int64), None)
    logits_of = {name: np.concatenate(parts) for name, parts in collected.items()}
    return Predicted(logits_of, np.concatenate(ids), np.concatenate(domains) if domains else None)
