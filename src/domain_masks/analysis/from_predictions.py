"""What stored predictions alone tell: calibration, confusion, accuracy per class, the nearest source."""

from __future__ import annotations

import numpy as np

from domain_masks.errors import InputError
from domain_masks.evaluation import (
    NEAREST_RULES,
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
    return Calibration(
        ece=expected_calibration_error(logits, predictions.labels, CALIBRATION_BINS),
        images=len(predictions),
        bins=CalibrationBins(
            edges=bins.edges.tolist(), counts=bins.counts.tolist(), confidence=means[0], accuracy=means[1]
        ),
    )


def confusion(predictions: Predictions) -> Confusion:
    """Return which classes the prediction ensemble takes for which; of more than ``MOST_CLASSES`` the worst ones."""
    names = predictions.classes
    matrix = confusion_matrix(predictions.of(PREDICTION_ENSEMBLE), predictions.labels)
    kept = classes_with_most_errors(matrix, MOST_CLASSES)
    return Confusion(
        classes=[names[index] for index in kept],
        counts=matrix[np.ix_(kept, kept)].tolist(),
        of=len(names),
        pairs=[
            ConfusedPair(label=names[label], predicted=names[predicted], count=count)
            for label, predicted, count in most_confused(matrix, MOST_PAIRS)
        ],
    )


def has_sources(predictions: Predictions) -> bool:
    """Whether every source has a mask or head whose prediction is known by itself."""
    return all(KNOWN_DOMAIN + source in predictions.logits for source in predictions.sources)


def without_nearest(predictions: Predictions, has_classifier: bool) -> str:
    """Say why no nearest source can be named; nothing where one can.

    ``has_classifier``: whether the run's model has a domain classifier, which then names it wherever it is named.
    """
    if not has_sources(predictions):
        return "the method has no mask or head per source"
    if len(predictions.sources) < 2:
        return "there is one source, which every image would be nearest to"
    if has_classifier and predictions.domain_probabilities is None:
        return (
            "the model has a domain classifier, which names it, and predictions.npz does not say what that finds: "
            "`dmg evaluate RUN` writes it"
        )
    if nearest_accuracy(predictions) is None:
        return "there is no image of a source to measure it on"
    return ""


def nearest(predictions: Predictions) -> NearestSource:
    """Return which source the images of every domain are nearest to; see :func:`~domain_masks.evaluation.nearest_source`.

    Raises InputError where :func:`without_nearest` says why there is none.
    """
    right = nearest_accuracy(predictions)
    if right is None:
        raise InputError(f"no nearest source can be named: {without_nearest(predictions, False)}")
    parts = samples_by_domain(predictions)
    found = {domain: nearest_on_domain(part) for domain, part in parts.items()}
    return NearestSource(
        rule=NEAREST_RULES[right.by],
        right=right,
        rules=nearest_by_rule(predictions),
        domains={domain: one.shares for domain, one in found.items()},
        images={domain: len(part) for domain, part in parts.items()},
        agreement={domain: one.agreement for domain, one in found.items()},
        accuracy={domain: one.accuracy for domain, one in found.items()},
        best_single={domain: one.best_single for domain, one in found.items()},
        test={
            domain: McNemarTest(
                nearest_only=one.test.first_only,
                predictions_only=one.test.second_only,
                p_value=min(1.0, one.test.p_value),
            )
            for domain, one in found.items()
        },
    )
