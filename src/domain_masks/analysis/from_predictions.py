"""Analyses of stored predictions: calibration, confusion, the nearest source."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from domain_masks.errors import InputError
from domain_masks.evaluation import (
    NEAREST_RULES,
    calibrated_logits,
    classes_with_most_errors,
    confusion_matrix,
    expected_calibration_error,
    most_confused,
    nearest_accuracy,
    nearest_by_rule,
    nearest_on_domain,
    reliability,
    samples_by_domain,
)
from domain_masks.records import Predictions
from domain_masks.records.analysis import (
    Calibration,
    CalibrationBins,
    ConfusedPair,
    Confusion,
    McNemarTest,
    NearestSource,
)
from domain_masks.records.ensemble_names import KNOWN_DOMAIN, PREDICTION_ENSEMBLE
from domain_masks.records.measured_metrics import FittedTemperature

MOST_CLASSES = 40
MOST_PAIRS = 20
CALIBRATION_BINS = 15


def calibration(predictions: Predictions, temperatures: Mapping[str, FittedTemperature] | None = None) -> Calibration:
    """Return the calibration of the prediction ensemble; raises InputError if there are no samples.

    - ``temperatures``: of the ensembles of a calibrated model
    """
    temperature = (temperatures or {}).get(PREDICTION_ENSEMBLE)
    logits = calibrated_logits(predictions.of(PREDICTION_ENSEMBLE), PREDICTION_ENSEMBLE, temperatures)
    bins = reliability(logits, predictions.labels, CALIBRATION_BINS)
    means = [
        [None if np.isnan(value) else float(value) for value in column] for column in (bins.confidence, bins.accuracy)
    ]
    return Calibration(
        ece=expected_calibration_error(logits, predictions.labels, CALIBRATION_BINS),
        images=len(predictions),
        bins=CalibrationBins(
            edges=bins.edges.tolist(), counts=bins.counts.tolist(), confidence=means[0], accuracy=means[1]
        ),
        temperature=None if temperature is None else temperature.value,
    )


def confusion(predictions: Predictions) -> Confusion:
    """Return the confusion matrix of the prediction ensemble, limited to the ``MOST_CLASSES`` with most errors."""
    names = predictions.classes
    matrix = confusion_matrix(predictions.of(PREDICTION_ENSEMBLE), predictions.labels)
    kept = classes_with_most_errors(matrix, MOST_CLASSES)
    shown = matrix[np.ix_(kept, kept)]
    is_whole = len(kept) == len(names)
    return Confusion(
        classes=[names[index] for index in kept],
        counts=shown.tolist(),
        of=len(names),
        pairs=[
            ConfusedPair(label=names[label], predicted=names[predicted], count=count)
            for label, predicted, count in most_confused(matrix, MOST_PAIRS)
        ],
        predicted_as_others=[] if is_whole else (matrix[kept].sum(axis=1) - shown.sum(axis=1)).tolist(),
        labelled_as_others=[] if is_whole else (matrix[:, kept].sum(axis=0) - shown.sum(axis=0)).tolist(),
    )


def has_sources(predictions: Predictions) -> bool:
    """Whether the predictions contain those of every source's own mask or head."""
    return all(KNOWN_DOMAIN + source in predictions.logits for source in predictions.sources)


def without_nearest(predictions: Predictions, has_classifier: bool) -> str:
    """Return why there is no nearest source; empty if there is result.

    - ``has_classifier``: whether the run's model has a domain classifier, which then determines it
    """
    if not has_sources(predictions):
        return "the method has no mask or head per source"
    if len(predictions.sources) < 2:
        return "there is only one source"
    if has_classifier and predictions.domain_probabilities is None:
        return "the model has a domain classifier, but predictions.npz lacks its probabilities: `dmg evaluate RUN` adds them"
    if nearest_accuracy(predictions) is None:
        return "there are no source images to measure its accuracy on"
    return ""


def nearest(predictions: Predictions) -> NearestSource:
    """Return which source the images of every domain are nearest to; see :func:`~domain_masks.evaluation.nearest_source`.

    Raises InputError if there is none, see :func:`without_nearest`.
    """
    right = nearest_accuracy(predictions)
    if right is None:
        raise InputError(f"there is no nearest source: {without_nearest(predictions, False)}")
    parts = samples_by_domain(predictions)
    results = {domain: nearest_on_domain(part) for domain, part in parts.items()}
    return NearestSource(
        rule=NEAREST_RULES[right.by],
        right=right,
        rules=nearest_by_rule(predictions),
        domains={domain: result.shares for domain, result in results.items()},
        images={domain: len(part) for domain, part in parts.items()},
        agreement={domain: result.agreement for domain, result in results.items()},
        accuracy={domain: result.accuracy for domain, result in results.items()},
        best_single={domain: result.best_single for domain, result in results.items()},
        test={
            domain: McNemarTest(
                nearest_only=result.test.first_only,
                predictions_only=result.test.second_only,
                p_value=min(1.0, result.test.p_value),
            )
            for domain, result in results.items()
        },
    )
