"""Top-1 accuracies: overall, per domain, per class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domain_masks.errors import InputError
from domain_masks.records.ensemble_names import KNOWN_DOMAIN, PREDICTION_ENSEMBLE
from domain_masks.records.predictions import Predictions


def correct(logits: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.bool_]:
    """Return whether each sample's largest logit is its label's; of equal logits the first counts.

    ``logits``: (N, C), ``labels``: (N,); returns (N,) booleans. Raises InputError for other shapes and for NaN.
    """
    logits, labels = np.asarray(logits), np.asarray(labels)
    if logits.ndim != 2 or labels.shape != logits.shape[:1]:
        raise InputError(f"expected logits (N, C) and labels (N,), got {logits.shape} and {labels.shape}")
    if np.isnan(logits).any():
        raise InputError("expected logits that are numbers, got NaN: the network diverged")
    result: NDArray[np.bool_] = logits.argmax(axis=1) == labels
    return result


def top1(logits: NDArray[Any], labels: NDArray[Any]) -> float:
    """Return the fraction of samples whose largest logit is the label's, in [0, 1].

    ``logits``: (N, C), ``labels``: (N,). Raises InputError if there are no samples.
    """
    return _mean(correct(logits, labels))


def balanced_accuracy(logits: NDArray[Any], labels: NDArray[Any]) -> float:
    """Return the unweighted mean over the classes present of their accuracies, in [0, 1].

    ``logits``: (N, C), ``labels``: (N,). Raises InputError if there are no samples.
    """
    right = correct(logits, labels)
    return mean_over_domains({str(label): _mean(right[labels == label]) for label in np.unique(labels)})


def per_domain_accuracy(predictions: Predictions, ensemble: str = PREDICTION_ENSEMBLE) -> dict[str, float]:
    """Return the accuracy of ``ensemble`` on each domain that has samples, in the order of the dataset's domains.

    Raises InputError for an ensemble that does not exist.
    """
    return {
        name: top1(logits, labels)
        for name, (logits, labels) in by_domain(predictions, predictions.of(ensemble)).items()
    }


def mean_over_domains(per_domain: Mapping[str, float]) -> float:
    """Return the unweighted mean, the paper's "Overall"; raises InputError if there are no domains."""
    return _mean(list(per_domain.values()))


def worst_domain(per_domain: Mapping[str, float]) -> str:
    """Return the name of the domain with the lowest accuracy, the first of equal ones.

    Raises InputError if there are no domains.
    """
    if not per_domain:
        raise InputError("expected accuracies of at least one domain, got none")
    return min(per_domain, key=per_domain.__getitem__)


def known_domain_logits(predictions: Predictions) -> NDArray[np.float32]:
    """Return for each sample the logits of its own domain's mask or head alone (DMG-KD, Table 3): (N, C).

    Raises InputError if a sample's domain is not a source, or if the method has no logits per source.
    """
    present = np.unique(predictions.domains)
    foreign = [predictions.domain_names[index] for index in present if not _is_source(predictions, index)]
    if foreign:
        raise InputError(
            f"expected samples of the sources {', '.join(predictions.sources)}, got some of {', '.join(foreign)}: a "
            "domain that was not trained on has no mask. Select a split of the sources first"
        )
    chosen = np.empty((len(predictions), len(predictions.classes)), dtype=np.float32)
    for index in present:
        rows = predictions.domains == index
        chosen[rows] = predictions.of(KNOWN_DOMAIN + predictions.domain_names[index])[rows]
    return chosen


def by_domain(
    predictions: Predictions, logits: NDArray[np.float32]
) -> dict[str, tuple[NDArray[np.float32], NDArray[np.int64]]]:
    """Return domain -> its rows of ``logits`` (N, C) and its labels, for the domains that have samples."""
    parts = {}
    for index in np.unique(predictions.domains):
        rows = predictions.domains == index
        parts[predictions.domain_names[index]] = (logits[rows], predictions.labels[rows])
    return parts


def _is_source(predictions: Predictions, index: int) -> bool:
    return predictions.domain_names[index] in predictions.sources


def _mean(values: NDArray[np.bool_] | Sequence[float]) -> float:
    if len(values) == 0:
        raise InputError("expected an accuracy over at least one sample or domain, got none")
    return float(np.mean(values))
