"""Calibration of confidences (Guo et al., "On Calibration of Modern Neural Networks", 2017)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domain_masks.errors import InputError
from domain_masks.evaluation.accuracy import correct
from domain_masks.evaluation.ensembles import log_softmax


@dataclass(frozen=True, eq=False)
class ReliabilityBins:
    """Samples in B bins of equal width by confidence; a bin excludes its lower edge and includes its upper edge.

    - ``edges``: (B + 1,), from 0 to 1
    - ``counts``: (B,) samples per bin
    - ``confidence``: (B,) mean confidence, NaN where a bin is empty
    - ``accuracy``: (B,) fraction of correct samples, NaN where a bin is empty
    """

    edges: NDArray[np.float64]
    counts: NDArray[np.int64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]


def reliability(logits: NDArray[Any], labels: NDArray[Any], bins: int = 15) -> ReliabilityBins:
    """Return the bins of a reliability diagram; a sample's confidence is its largest probability.

    ``logits``: (N, C), ``labels``: (N,). Raises InputError if there are no samples or no bins.
    """
    if bins < 1:
        raise InputError(f"expected at least one bin, got {bins}")
    right = correct(logits, labels)
    if len(right) == 0:
        raise InputError("expected the calibration of at least one sample, got none")
    confidences = np.exp(log_softmax(logits).max(axis=1))
    edges = np.linspace(0.0, 1.0, bins + 1)
    place = np.digitize(confidences, edges[1:-1], right=True)
    counts = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        return ReliabilityBins(
            edges=edges,
            counts=counts,
            confidence=np.bincount(place, weights=confidences, minlength=bins) / counts,
            accuracy=np.bincount(place, weights=right, minlength=bins) / counts,
        )


def expected_calibration_error(logits: NDArray[Any], labels: NDArray[Any], bins: int = 15) -> float:
    """Return the expected calibration error over equal-width bins, weighted by their counts, in [0, 1].

    Equation 3 of Guo et al. (2017). ``logits``: (N, C), ``labels``: (N,). Raises InputError if there are no samples or
    no bins.
    """
    binned = reliability(logits, labels, bins)
    filled = binned.counts > 0
    distances = np.abs(binned.accuracy[filled] - binned.confidence[filled])
    return float(np.average(distances, weights=binned.counts[filled]))
