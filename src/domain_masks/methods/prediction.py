"""A method's predictions over many batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch
from numpy.typing import NDArray

from domain_masks.batch import DomainBatch
from domain_masks.methods.base import Method


def predict_batches(
    method: Method, batches: Iterable[DomainBatch], prepare: Callable[[DomainBatch], DomainBatch]
) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.int64]]:
    """Run a method in evaluation mode over all batches.

    - ``prepare``: puts a batch on the method's device and normalises its images
    - returns: ensemble -> logits (N, C), and the ids of the rows (N,), in the order of the batches

    The method is put back into the mode in which it was.
    """
    collected: dict[str, list[NDArray[np.float32]]] = {}
    ids = []
    training = method.training
    method.eval()
    try:
        with torch.inference_mode():
            for batch in batches:
                for ensemble, logits in method.predict(prepare(batch)).items():
                    collected.setdefault(ensemble, []).append(logits.float().cpu().numpy())
                ids.append(batch.ids.cpu().numpy())
    finally:
        method.train(training)
    if not ids:
        return {}, np.zeros(0, dtype=np.int64)
    return {name: np.concatenate(parts) for name, parts in collected.items()}, np.concatenate(ids)
