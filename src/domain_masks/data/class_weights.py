"""Weights of classes of unequal size."""

from __future__ import annotations

import numpy as np

from domain_masks.data.dataset import Int64Array


def balanced_class_weights(labels: Int64Array, classes: int) -> tuple[float, ...]:
    """Return N / (P n) for each class with n of the N labels, where P classes have labels; 1 for a class without any.

    The mean over the labels is 1. Returns one weight per class, (``classes``,).
    """
    from sklearn.utils.class_weight import compute_class_weight  # noqa: PLC0415 - few runs use class weights

    present = np.unique(labels)
    weights = np.ones(classes)
    weights[present] = compute_class_weight("balanced", classes=present, y=labels)
    return tuple(weights.tolist())
