"""Metrics beside accuracy: macro F1, top-5, AUROC, the worst group, calibration; by scikit-learn where it has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domain_masks.errors import InputError
from domain_masks.evaluation.accuracy import by_domain, correct
from domain_masks.evaluation.calibration import expected_calibration_error
from domain_masks.evaluation.ensembles import check_ensemble, log_softmax
from domain_masks.evaluation.measured_samples import samples_by_measure
from domain_masks.records.ensemble_names import KNOWN_DOMAIN, PREDICTION_ENSEMBLE
from domain_masks.records.measured_metrics import (
    LEAST_IN_GROUP,
    TOP_K,
    DomainMetrics,
    FittedTemperature,
    MeasureMetrics,
    WorstGroup,
)
from domain_masks.records.predictions import Predictions
from domain_masks.records.results import WITH_KNOWN_DOMAIN


def macro_f1(logits: NDArray[Any], labels: NDArray[Any]) -> float:
    """Return the unweighted mean of F1 over the classes that have samples, in [0, 1].

    A class without samples has no recall, and so no F1; predictions of it count against the other classes alone. ``logits``:
    (N, C), ``labels``: (N,). Raises InputError without samples, for other shapes and for logits that are not finite.
    """
    from sklearn.metrics import f1_score  # noqa: PLC0415 - takes a second to import

    logits, labels = _checked(logits, labels)
    return float(f1_score(labels, logits.argmax(axis=1), labels=np.unique(labels), average="macro", zero_division=0.0))


def top_k_accuracy(logits: NDArray[Any], labels: NDArray[Any], k: int = TOP_K) -> float | None:
    """Return the fraction of samples whose label is among the ``k`` largest logits; None with ``k`` or fewer classes.

    Of equal logits the first counts, as in top-1. ``logits``: (N, C), ``labels``: (N,). Errors as in :func:`macro_f1`, and for
    ``k`` below 1.
    """
    from sklearn.metrics import top_k_accuracy_score  # noqa: PLC0415

    logits, labels = _checked(logits, labels)
    if k < 1:
        raise InputError(f"expected k from 1, got {k}")
    classes = logits.shape[1]
    if classes <= k:
        return None
    if k == 1:
        return float(correct(logits, labels).mean())
    # scikit-learn prefers the last of equal scores: in reversed order that is the first.
    return float(top_k_accuracy_score(classes - 1 - labels, logits[:, ::-1], k=k, labels=np.arange(classes)))


def one_vs_rest_auroc(logits: NDArray[Any], labels: NDArray[Any]) -> list[float | None]:
    """Return for each of C classes the area under the ROC curve of its probability, against all other classes, in [0, 1].

    None where it is undefined: a class without samples, or with all of them. Equal probabilities count half. Samples are
    ordered by the log odds, which have the order of the probabilities and, unlike these, do not round to 1. ``logits``:
    (N, C), ``labels``: (N,). Errors as in :func:`macro_f1`.
    """
    from sklearn.metrics import roc_auc_score  # noqa: PLC0415

    logits, labels = _checked(logits, labels)
    counts = np.bincount(labels, minlength=logits.shape[1])
    defined = (counts > 0) & (counts < len(labels))
    if not defined.any():
        return [None] * len(counts)
    scores = log_odds(logits)
    return [
        min(1.0, float(roc_auc_score(labels == index, scores[:, index]))) if defined[index] else None
        for index in range(len(counts))
    ]


def log_odds(logits: NDArray[Any]) -> NDArray[np.float64]:
    """Return log(p / (1 - p)) of each class's probability p, (N, C); finite for finite logits of at least two classes."""
    values = np.asarray(logits, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] < 2:
        raise InputError(f"expected logits (N, C) of at least two classes, got the shape {values.shape}")
    logs = log_softmax(values)
    rows, largest = np.arange(len(values)), values.argmax(axis=1)
    # The probability of the largest one may be so near 1 that the rest is lost: its rest is summed without it.
    others = values.copy()
    others[rows, largest] = -np.inf
    second = others.max(axis=1)
    # Of differences alone, as all else here: equal probabilities are exactly equal, whatever is added to a row.
    rest = np.log(np.exp(others - second[:, None]).sum(axis=1))
    result: NDArray[np.float64] = logs - np.log1p(-np.minimum(np.exp(logs), 0.5))
    result[rows, largest] = values[rows, largest] - second - rest
    return result


def worst_group(predictions: Predictions, least: int = LEAST_IN_GROUP) -> WorstGroup | None:
    """Return the class in a domain on which the prediction ensemble is right least often; the first of equal ones.

    Groups of fewer than ``least`` images are left out, and counted. None where none is as large.
    """
    groups: list[WorstGroup] = []
    left_out = 0
    for domain, (logits, labels) in by_domain(predictions, predictions.of(PREDICTION_ENSEMBLE)).items():
        right = correct(logits, labels)
        for label in np.unique(labels):
            mine = right[labels == label]
            if len(mine) < least:
                left_out += 1
                continue
            name = predictions.classes[label]
            groups.append(
                WorstGroup(
                    domain=domain, class_name=name, accuracy=float(mine.mean()), images=len(mine), least=max(0, least)
                )
            )
    if not groups:
        return None
    return min(groups, key=lambda group: group.accuracy).model_copy(update={"left_out": left_out})


def domain_metrics(logits: NDArray[Any], labels: NDArray[Any], temperature: float | None = None) -> DomainMetrics:
    """Return the metrics of one domain; ``temperature`` None where there is none, or it was fitted on these samples.

    ``logits``: (N, C), ``labels``: (N,). Errors as in :func:`macro_f1`.
    """
    areas = [area for area in one_vs_rest_auroc(logits, labels) if area is not None]
    calibrated = None if temperature is None else np.asarray(logits, dtype=np.float64) / temperature
    return DomainMetrics(
        images=len(labels),
        classes=len(np.unique(labels)),
        of_classes=np.asarray(logits).shape[1],
        macro_f1=macro_f1(logits, labels),
        top_5=top_k_accuracy(logits, labels),
        auroc=_mean(areas),
        calibration_error=expected_calibration_error(logits, labels),
        calibrated_error=None if calibrated is None else expected_calibration_error(calibrated, labels),
    )


def metrics(
    predictions: Predictions,
    temperatures: Mapping[str, FittedTemperature] | None = None,
    ensemble: str = PREDICTION_ENSEMBLE,
) -> dict[str, MeasureMetrics]:
    """Return "out_of_domain", "in_domain" and "known_domain" -> metrics, of those that there are.

    - ``temperatures``: of the ensembles of a calibrated model, which were fitted on the split "validation"
    - ``ensemble``: another one in place of the prediction ensemble; then there is no "known_domain"

    See :func:`samples_by_measure` for the samples of each. Raises InputError for an ensemble that does not exist.
    """
    fitted = temperatures or {}
    if ensemble != PREDICTION_ENSEMBLE:
        check_ensemble(predictions, ensemble)
        predictions = replace(predictions, logits={PREDICTION_ENSEMBLE: predictions.of(ensemble)})
        fitted = {PREDICTION_ENSEMBLE: fitted[ensemble]} if ensemble in fitted else {}
    return {
        measure: _of_measure(samples, fitted, measure == WITH_KNOWN_DOMAIN)
        for measure, samples in samples_by_measure(predictions).items()
    }


def _of_measure(
    samples: Predictions, temperatures: Mapping[str, FittedTemperature], by_own_mask: bool
) -> MeasureMetrics:
    unseen = not (samples.splits == "validation").any()
    per_domain = {}
    for domain, part in by_domain(samples, samples.of(PREDICTION_ENSEMBLE)).items():
        fitted = temperatures.get(KNOWN_DOMAIN + domain if by_own_mask else PREDICTION_ENSEMBLE) if unseen else None
        per_domain[domain] = domain_metrics(*part, None if fitted is None else fitted.value)
    found = list(per_domain.values())
    return MeasureMetrics(
        images=len(samples),
        macro_f1=_mean([each.macro_f1 for each in found]) or 0.0,
        top_5=_mean([each.top_5 for each in found]),
        auroc=_mean([each.auroc for each in found]),
        calibration_error=_mean([each.calibration_error for each in found]) or 0.0,
        calibrated_error=_mean([each.calibrated_error for each in found]),
        worst_group=worst_group(samples),
        per_domain=per_domain,
    )


def _mean(values: Sequence[float | None]) -> float | None:
    """Return the mean over domains; None where a domain has no value, which would be left out in silence."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known and len(known) == len(values) else None


def _checked(logits: NDArray[Any], labels: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return logits (N, C) and labels (N,); raises InputError for other shapes, no samples and values that are not finite."""
    right = correct(logits, labels)
    values, known = np.asarray(logits), np.asarray(labels)
    if len(right) == 0:
        raise InputError("expected at least one sample, got none")
    if not np.isfinite(values).all():
        raise InputError("expected finite logits, got infinity: the network diverged")
    if known.min() < 0 or known.max() >= values.shape[1]:
        raise InputError(f"expected labels from 0 to {values.shape[1] - 1}, got {known.min()} to {known.max()}")
    return values, known.astype(np.int64)
