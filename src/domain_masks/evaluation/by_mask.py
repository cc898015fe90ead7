"""Accuracy of every mask on every domain (Table 4), and the nearest source of an image."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domain_masks.errors import InputError
from domain_masks.evaluation.accuracy import correct, mean_over_domains, per_domain_accuracy
from domain_masks.evaluation.ensembles import log_softmax
from domain_masks.evaluation.intervals import McNemar, exact_mcnemar
from domain_masks.evaluation.measured_samples import reporting_splits, samples_by_domain
from domain_masks.records.ensemble_names import KNOWN_DOMAIN, MASK_ENSEMBLE, PREDICTION_ENSEMBLE, WEIGHTED_ENSEMBLE
from domain_masks.records.predictions import Predictions
from domain_masks.records.results import DOMAIN_CLASSIFIER, MOST_CONFIDENT_MASK, NearestAccuracy

NEAREST_RULES = {
    DOMAIN_CLASSIFIER: "the source with the largest probability of the domain classifier; of equal ones the first",
    MOST_CONFIDENT_MASK: "the source whose mask or head alone is the most confident, by the largest probability that it gives "
    "any class; of equal ones the first. The model has no domain classifier, which is right more often",
}
"""Rule of the nearest source -> its description; see :func:`nearest_source`."""


def mask_by_domain(predictions: Predictions) -> dict[str, dict[str, float]]:
    """Return ensemble -> domain -> accuracy in [0, 1] (Table 4); see :func:`reporting_splits` for the samples.

    The rows are every source's mask or head alone, then the prediction ensemble, the mask ensemble and any others.
    """
    parts = samples_by_domain(predictions)
    known = [KNOWN_DOMAIN + source for source in predictions.sources]
    order = [
        name for name in (*known, PREDICTION_ENSEMBLE, MASK_ENSEMBLE, WEIGHTED_ENSEMBLE) if name in predictions.logits
    ]
    order += [name for name in predictions.ensembles if name not in order]
    return {
        ensemble: {domain: per_domain_accuracy(part, ensemble)[domain] for domain, part in parts.items()}
        for ensemble in order
    }


def source_logits(predictions: Predictions) -> NDArray[np.float32]:
    """Return the logits of every source's own mask or head, (D, N, C), in the order of the sources.

    Raises InputError if the method has none for some source.
    """
    missing = [source for source in predictions.sources if KNOWN_DOMAIN + source not in predictions.logits]
    if missing:
        raise InputError(
            f"expected predictions of every source's mask or head alone, got none of {', '.join(missing)}: the method has no "
            "mask or head per domain"
        )
    return np.stack([predictions.logits[KNOWN_DOMAIN + source] for source in predictions.sources])


def confidences(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the largest probability that each row of logits (..., C) gives any class, (...)."""
    result: NDArray[np.float64] = np.exp(log_softmax(logits).max(axis=-1))
    return result


def nearest_source(
    logits: NDArray[np.float32], domain_probabilities: NDArray[np.floating[Any]] | None = None
) -> NDArray[np.int64]:
    """Return the index of each sample's nearest source, (N,); the only definition of nearest sources.

    It is the source with the largest probability of the domain classifier. Without one it is the source whose mask or head
    is the most confident, which is right less often (docs/analysis.md). Of equal ones it is the first.

    - ``logits``: (D, N, C), of the sources' masks or heads alone
    - ``domain_probabilities``: (N, D), the domain classifier's; None where there is none
    """
    if domain_probabilities is not None:
        chosen: NDArray[np.int64] = np.asarray(domain_probabilities).argmax(axis=1)
        return chosen
    # Where several masks are sure their probabilities round to 1; compared is therefore what speaks for the other classes,
    # which keeps its digits.
    values = np.asarray(logits, dtype=np.float64)
    relative = np.exp(values - values.max(axis=-1, keepdims=True))
    np.put_along_axis(relative, values.argmax(axis=-1)[..., None], 0.0, axis=-1)
    result: NDArray[np.int64] = relative.sum(axis=-1).argmin(axis=0)
    return result


def nearest_of(predictions: Predictions) -> NDArray[np.int64]:
    """Return the nearest source of each sample, (N,), as an index into the sources; see :func:`nearest_source`."""
    return nearest_source(source_logits(predictions), predictions.domain_probabilities)


def nearness(predictions: Predictions) -> NDArray[np.float64]:
    """Return the nearness of each sample to each source, (D, N), in [0, 1], which :func:`nearest_source` compares."""
    if predictions.domain_probabilities is not None:
        return predictions.domain_probabilities.T.astype(np.float64)
    return confidences(source_logits(predictions))


def nearest_logits(predictions: Predictions) -> NDArray[np.float32]:
    """Return each sample's logits (N, C) under the mask or head of its nearest source."""
    chosen: NDArray[np.float32] = source_logits(predictions)[nearest_of(predictions), np.arange(len(predictions))]
    return chosen


def nearest_accuracy(predictions: Predictions) -> NearestAccuracy | None:
    """Return how often images of the sources are nearest to their own source, on the splits of :func:`reporting_splits`.

    None for a method without a mask or head per source, for fewer than two sources, and where there are no such images.
    """
    if len(predictions.sources) < 2 or any(
        KNOWN_DOMAIN + name not in predictions.logits for name in predictions.sources
    ):
        return None
    splits, parts = reporting_splits(predictions), samples_by_domain(predictions)
    own = {
        name: float((nearest_of(parts[name]) == index).mean())
        for index, name in enumerate(predictions.sources)
        if name in parts
    }
    if not own:
        return None
    return NearestAccuracy(
        by=MOST_CONFIDENT_MASK if predictions.domain_probabilities is None else DOMAIN_CLASSIFIER,
        split=" and ".join(dict.fromkeys(splits[name] for name in own)),
        accuracy=mean_over_domains(own),
        per_domain=own,
        count=sum(len(parts[name]) for name in own),
    )


def nearest_by_rule(predictions: Predictions) -> dict[str, float]:
    """Return rule -> how often it names a source image's own source, for every rule that ``predictions`` allow."""
    by_rule = {}
    for rule_predictions in (predictions, replace(predictions, domain_probabilities=None)):
        if (measured := nearest_accuracy(rule_predictions)) is not None:
            by_rule[measured.by] = measured.accuracy
    return by_rule


@dataclass(frozen=True)
class NearestOnDomain:
    """Results of the nearest source's mask on the samples of one domain; fractions in [0, 1].

    - ``shares``: source -> share of the samples that are nearest to it
    - ``agreement``: share of the samples with the same class from the nearest source's mask and the prediction ensemble
    - ``accuracy``: "nearest", "predictions", "best_single", and "weighted" if there is such an ensemble
    - ``best_single``: the source whose mask is best here, known only from the labels: an oracle
    - ``test``: "nearest" (first) against "predictions" (second) on the same samples
    """

    shares: dict[str, float]
    agreement: float
    accuracy: dict[str, float]
    best_single: str
    test: McNemar


def nearest_on_domain(predictions: Predictions) -> NearestOnDomain:
    """Return the results of the nearest source's mask on ``predictions``, the samples of one domain.

    Raises InputError if there are no samples, or no logits for some source by itself.
    """
    if len(predictions) == 0:
        raise InputError("expected at least one sample to find the nearest source of, got none")
    stacked, ensemble = source_logits(predictions), predictions.of(PREDICTION_ENSEMBLE)
    nearest, own = nearest_of(predictions), nearest_logits(predictions)
    right, ensemble_right = correct(own, predictions.labels), correct(ensemble, predictions.labels)
    single = {
        source: float(correct(logits, predictions.labels).mean())
        for source, logits in zip(predictions.sources, stacked, strict=True)
    }
    best = max(single, key=single.__getitem__)
    accuracy = {"nearest": right.mean(), "predictions": ensemble_right.mean(), "best_single": single[best]}
    if WEIGHTED_ENSEMBLE in predictions.logits:
        accuracy["weighted"] = correct(predictions.of(WEIGHTED_ENSEMBLE), predictions.labels).mean()
    return NearestOnDomain(
        shares={source: float((nearest == index).mean()) for index, source in enumerate(predictions.sources)},
        agreement=float((own.argmax(axis=1) == ensemble.argmax(axis=1)).mean()),
        accuracy={name: float(value) for name, value in accuracy.items()},
        best_single=best,
        test=exact_mcnemar(right, ensemble_right),
    )
