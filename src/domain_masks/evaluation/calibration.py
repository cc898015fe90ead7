"""Calibration of confidences (Guo et al., "On Calibration of Modern Neural Networks", 2017)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domain_masks.errors import InputError
from domain_masks.evaluation.accuracy import correct
from domain_masks.evaluation.ensembles import log_softmax
from domain_masks.records.ensemble_names import KNOWN_DOMAIN
from domain_masks.records.measured_metrics import HIGHEST_TEMPERATURE, LOWEST_TEMPERATURE, FittedTemperature
from domain_masks.records.predictions import Predictions


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
    return min(1.0, float(np.average(distances, weights=binned.counts[filled])))


def fit_temperature(logits: NDArray[Any], labels: NDArray[Any]) -> float | None:
    """Return the temperature T for which softmax(logits / T) has the lowest negative log likelihood, the mean over samples.

    Section 4.2 of Guo et al. (2017). The loss is convex in 1 / T, so its slope has at most one root. None where the
    best T is outside 0.001 to 1000: every sample is right, and the loss falls with T without end; or the logits tell less
    than chance. ``logits``: (N, C), ``labels``: (N,). Raises InputError without samples, for other shapes and for NaN.
    """
    from scipy.optimize import brentq  # type: ignore[import-untyped]  # noqa: PLC0415 - takes long to import

    if len(correct(logits, labels)) == 0:
        raise InputError("expected the calibration of at least one sample, got none")
    values = np.asarray(logits, dtype=np.float64)
    # Relative to the label's logit, the slope in 1 / T is the mean of what the probabilities expect.
    relative = values - values[np.arange(len(values)), labels][:, None]

    def slope(log_temperature: float) -> float:
        probabilities = np.exp(log_softmax(relative / np.exp(log_temperature)))
        return float((probabilities * relative).sum(axis=1).mean())

    lowest, highest = np.log(LOWEST_TEMPERATURE), np.log(HIGHEST_TEMPERATURE)
    if slope(lowest) <= 0 or slope(highest) >= 0:
        return None
    return float(np.exp(brentq(slope, lowest, highest, xtol=1e-10)))


def calibrated_logits(
    logits: NDArray[Any], ensemble: str, temperatures: Mapping[str, FittedTemperature] | None
) -> NDArray[Any]:
    """Return the logits of an ensemble, (N, C), whose softmax are the probabilities of a model: divided by its temperature.

    - ``temperatures``: of the ensembles of a calibrated model; without that of ``ensemble`` the logits are returned as they are
    """
    fitted = (temperatures or {}).get(ensemble)
    return logits if fitted is None else np.asarray(logits, dtype=np.float64) / fitted.value


def fitted_temperatures(predictions: Predictions) -> dict[str, FittedTemperature]:
    """Return ensemble -> its temperature, fitted on the sources' validation images; without those that cannot be fitted.

    Each ensemble has its own: it divides the ensemble's logits, after the average over masks, so that no prediction changes.
    Where logits are averaged that is the same as dividing those of every mask. "known:DOMAIN" is fitted on the images of its
    domain, all others on those of all sources, each image counting the same.
    """
    validation = predictions.select(split="validation")
    fitted = {}
    for ensemble, logits in validation.logits.items():
        rows = np.ones(len(validation), dtype=np.bool_)
        if ensemble.startswith(KNOWN_DOMAIN):
            rows = validation.domains == validation.domain_names.index(ensemble.removeprefix(KNOWN_DOMAIN))
        if not rows.any():
            continue
        if (value := fit_temperature(logits[rows], validation.labels[rows])) is not None:
            fitted[ensemble] = FittedTemperature(value=value, images=int(rows.sum()))
    return fitted
