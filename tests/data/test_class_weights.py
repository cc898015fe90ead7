import numpy as np
import pytest

from domain_masks.data.class_weights import balanced_class_weights


def test_weights_are_inverse_to_the_classes_sizes_and_1_for_a_class_without_images():
    labels = np.array([0, 0, 0, 0, 2, 3, 3, 0])
    weights = balanced_class_weights(labels, 5)
    assert weights == pytest.approx((8 / (3 * 5), 1.0, 8 / (3 * 1), 8 / (3 * 2), 1.0))
    assert np.mean([weights[label] for label in labels]) == pytest.approx(1.0)
