"""Confusion matrices and the most frequent confusions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domain_masks.evaluation.accuracy import correct


def confusion_matrix(logits: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.int64]:
    """Return how many samples of each class (rows) were predicted to be each class (columns), (C, C).

    ``logits``: (N, C), ``labels``: (N,) from 0 to C - 1. Raises InputError for other shapes and for NaN.
    """
    correct(logits, labels)
    classes = np.asarray(logits).shape[1]
    pairs = np.asarray(labels) * classes + np.asarray(logits).argmax(axis=1)
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def per_class_accuracy(matrix: NDArray[np.int64], classes: Sequence[str]) -> dict[str, float]:
    """Return class -> fraction of its samples that are correct, without classes that have no samples.

    ``matrix``: (C, C) as :func:`confusion_matrix` gives it.
    """
    return {
        name: float(row[index] / row.sum())
        for index, (name, row) in enumerate(zip(classes, matrix, strict=True))
        if row.sum()
    }


def most_confused(matrix: NDArray[np.int64], most: int) -> list[tuple[int, int, int]]:
    """Return the most frequent errors, at most ``most``: label, predicted class, count; the first of equal ones first.

    ``matrix``: (C, C) as :func:`confusion_matrix` gives it.
    """
    errors = matrix - np.diag(np.diag(matrix))
    order = np.argsort(-errors, axis=None, kind="stable")[:most]
    rows, columns = np.unravel_index(order, errors.shape)
    return [(int(i), int(j), int(errors[i, j])) for i, j in zip(rows, columns, strict=True) if errors[i, j]]


def classes_with_most_errors(matrix: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Return up to ``most`` classes with the most errors, as label or prediction, in their order."""
    errors = matrix - np.diag(np.diag(matrix))
    involved = errors.sum(axis=0) + errors.sum(axis=1)
    return np.sort(np.argsort(-involved, kind="stable")[:most])
