"""Combine the predictions of several masks or heads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from domain_masks.errors import InputError, unknown
from domain_masks.records.ensemble_names import KNOWN_DOMAIN, MASK_ENSEMBLE, PREDICTION_ENSEMBLE, WEIGHTED_ENSEMBLE
from domain_masks.records.predictions import Predictions


def log_softmax(logits: NDArray[Any]) -> NDArray[np.float64]:
    """Return the log probabilities of ``logits``, over the last axis; finite for any finite logits."""
    shifted = np.asarray(logits, dtype=np.float64)
    shifted = shifted - shifted.max(axis=-1, keepdims=True)
    result: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return result


def average_logits(logits: NDArray[Any]) -> NDArray[np.float64]:
    """Return the mean over domains of ``logits`` (D, N, C): (N, C), the prediction ensemble of the released code.

    Raises InputError for other shapes or no domain.
    """
    result: NDArray[np.float64] = _stacked(logits).mean(axis=0)
    return result


def average_probabilities(logits: NDArray[Any]) -> NDArray[np.float64]:
    """Return the log of the mean over domains of the softmax probabilities of ``logits`` (D, N, C): (N, C).

    The other reading of "average the predictions" (Section 3.2). Computed in log space, so that tiny probabilities stay
    finite. Raises InputError for other shapes or no domain.
    """
    logs = log_softmax(_stacked(logits))
    largest = logs.max(axis=0)
    result: NDArray[np.float64] = largest + np.log(np.exp(logs - largest).mean(axis=0))
    return result


def recombine(predictions: Predictions, average: Literal["logits", "probabilities"] = "logits") -> Predictions:
    """Return ``predictions`` with the prediction ensemble computed again from the sources' own logits.

    The weighted ensemble, whose weights are not among the predictions, is removed if there is one.

    Raises InputError for another ``average``, or if the method has no logits per source.
    """
    if average not in ("logits", "probabilities"):
        raise unknown("average", average, ("logits", "probabilities"))
    names = [KNOWN_DOMAIN + source for source in predictions.sources]
    missing = [name for name in names if name not in predictions.logits]
    if missing:
        raise InputError(
            f"expected logits of every source by itself, got none of {', '.join(missing)}: the method has no mask or "
            "head per domain, so its prediction cannot be combined in another way"
        )
    stacked = np.stack([predictions.logits[name] for name in names])
    combined = average_logits(stacked) if average == "logits" else average_probabilities(stacked)
    others = {name: logits for name, logits in predictions.logits.items() if name != WEIGHTED_ENSEMBLE}
    return replace(predictions, logits={**others, PREDICTION_ENSEMBLE: combined.astype(np.float32)})


def can_be_weighted(predictions: Predictions) -> bool:
    """Whether a domain classifier could weight these predictions: there are logits of two or more single sources."""
    return len(predictions.sources) > 1 and all(
        KNOWN_DOMAIN + name in predictions.logits for name in predictions.sources
    )


def check_ensemble(predictions: Predictions, ensemble: str) -> None:
    """Raise InputError, which lists the ensembles, unless ``predictions`` hold logits of ``ensemble``."""
    require_ensemble(
        ensemble,
        predictions.ensembles,
        predictions.sources,
        held_out=[name for name in predictions.domain_names if name not in predictions.sources],
        advice=f"`dmg evaluate RUN --ensemble {WEIGHTED_ENSEMBLE}` fits one" if can_be_weighted(predictions) else None,
    )


def require_ensemble(
    ensemble: str,
    available: Sequence[str],
    sources: Sequence[str],
    held_out: Sequence[str] = (),
    advice: str | None = None,
    method: str = "the run's method",
) -> None:
    """Raise InputError, which lists the ensembles and gives the reason, unless ``ensemble`` is ``available``.

    - ``sources``, ``held_out``: domains, if known
    - ``advice``: how to fit a domain classifier; None where it would have no predictions to weight
    - ``method``: its name in messages
    """
    if ensemble in available:
        return
    listed = ", ".join(available)
    if not isinstance(ensemble, str):
        raise InputError(f"ensemble: expected one of {listed}, got {ensemble!r}")
    domain = ensemble.removeprefix(KNOWN_DOMAIN) if ensemble.startswith(KNOWN_DOMAIN) else None
    if domain in held_out:
        raise InputError(
            f"ensemble {ensemble!r}: {domain!r} was held out, so it has no mask or head: expected one of {listed}"
        )
    if ensemble == WEIGHTED_ENSEMBLE and advice is not None:
        raise InputError(
            f"ensemble {ensemble!r}: no domain classifier was fitted, whose probabilities are the weights: expected one "
            f"of {listed}. {advice}"
        )
    if ensemble in (MASK_ENSEMBLE, WEIGHTED_ENSEMBLE) or domain in sources:
        raise InputError(f"ensemble {ensemble!r}: {method} has none, expected one of {listed}")
    raise unknown("ensemble", ensemble, available)


def _stacked(logits: NDArray[Any]) -> NDArray[np.float64]:
    stacked = np.asarray(logits, dtype=np.float64)
    if stacked.ndim != 3 or len(stacked) == 0:
        raise InputError(f"expected logits of shape (D, N, C) with at least one domain, got {stacked.shape}")
    return stacked
