"""What stored predictions alone tell: calibration, confusion, accuracy per class, the nearest source."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from domain_masks.evaluation import (
    NEAREST_RULE,
    classes_with_most_errors,
    confusion_matrix,
    expected_calibration_error,
    most_confused,
    nearest_on_domain,
    reliability,
)
from domain_masks.records import Predictions
from domain_masks.records.analysis import Calibration, Confusion, NearestSource
from domain_masks.records.predictions import KNOWN_DOMAIN, PREDICTION_ENSEMBLE

MOST_CLASSES = 40
MOST_PAIRS = 20
CALIBRATION_BINS = 15


def calibration(predictions: Predictions) -> Calibration:
    """Return the calibration of the prediction ensemble; raises InputError if there are no samples."""
    logits = predictions.of(PREDICTION_ENSEMBLE)
    bins = reliability(logits, predictions.labels, CALIBRATION_BINS)
    means = [
        [None if np.isnan(value) else float(value) for value in column] for column in (bins.confidence, bins.accuracy)
    ]
    return {
        "ece": expected_calibration_error(logits, predictions.labels, CALIBRATION_BINS),
        "pictures": len(predictions),
        "bins": {
            "edges": bins.edges.tolist(),
            "counts": bins.counts.tolist(),
            "confidence": means[0],
            "accuracy": means[1],
        },
    }


def confusion(predictions: Predictions) -> Confusion:
    """Return which classes the prediction ensemble takes for which; of more than ``MOST_CLASSES`` the worst ones."""
    names = predictions.classes
    matrix = confusion_matrix(predictions.of(PREDICTION_ENSEMBLE), predictions.labels)
    kept = classes_with_most_errors(matrix, MOST_CLASSES)
    return {
        "classes": [names[index] for index in kept],
        "counts": matrix[np.ix_(kept, kept)].tolist(),
        "of": len(names),
        "pairs": [
            {"label": names[label], "predicted": names[predicted], "count": count}
            for label, predicted, count in most_confused(matrix, MOST_PAIRS)
        ],
    }


def has_sources(predictions: Predictions) -> bool:
    """Whether every source has a mask or head whose prediction is known by itself."""
    return all(KNOWN_DOMAIN + source in predictions.logits for source in predictions.sources)


def nearest(parts: Mapping[str, Predictions]) -> NearestSource:
    """Return which source the pictures of every domain are most like, from domain -> its predictions.

    Raises InputError if the method has no mask or head per source.
    """
    found = {domain: nearest_on_domain(part) for domain, part in parts.items()}
    return {
        "rule": NEAREST_RULE,
        "domains": {domain: one.shares for domain, one in found.items()},
        "pictures": {domain: len(part) for domain, part in parts.items()},
        "agreement": {domain: one.agreement for domain, one in found.items()},
        "accuracy": {domain: one.accuracy for domain, one in found.items()},
        "best_single": {domain: one.best_single for domain, one in found.items()},
        "test": {
            domain: {
                "nearest_only": one.test.first_only,
                "predictions_only": one.test.second_only,
                "p_value": min(1.0, one.test.p_value),
            }
            for domain, one in found.items()
        },
    }
