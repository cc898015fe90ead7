import numpy as np
import pytest

from domain_masks.errors import InputError
from domain_masks.evaluation import classes_with_most_errors, confusion_matrix, most_confused, per_class_accuracy, top1
from references.by_mask import confusion_matrix as slow


@pytest.mark.parametrize("seed", range(3))
def test_reference(seed):
    random = np.random.default_rng(seed)
    logits, labels = random.normal(size=(80, 5)), random.integers(5, size=80)
    matrix = confusion_matrix(logits, labels)
    assert matrix.tolist() == slow(logits.argmax(1).tolist(), labels.tolist(), 5)
    assert np.trace(matrix) / 80 == top1(logits, labels)


def test_a_class_without_samples_is_absent_and_divides_by_nothing():
    matrix = confusion_matrix(np.eye(3)[[0, 0, 2]], np.array([0, 1, 1]))
    with np.errstate(all="raise"):
        assert per_class_accuracy(matrix, ("cat", "dog", "owl")) == {"cat": 1.0, "dog": 0.0}


def test_errors_in_order_of_their_number():
    matrix = np.array([[9, 0, 2], [3, 9, 0], [2, 0, 9]])
    assert most_confused(matrix, 5) == [(1, 0, 3), (0, 2, 2), (2, 0, 2)]
    assert most_confused(matrix, 1) == [(1, 0, 3)]
    assert most_confused(np.diag([3, 4]), 5) == []


def test_the_classes_that_take_part_in_most_errors():
    matrix = np.array([[9, 0, 0, 0], [0, 9, 0, 4], [1, 0, 9, 0], [0, 0, 0, 9]])
    assert classes_with_most_errors(matrix, 2).tolist() == [1, 3]
    assert classes_with_most_errors(matrix, 9).tolist() == [0, 1, 2, 3]


def test_misuse():
    with pytest.raises(InputError, match="NaN"):
        confusion_matrix(np.full((1, 2), np.nan), np.array([0]))
    with pytest.raises(InputError, match="expected logits"):
        confusion_matrix(np.zeros((2, 2)), np.array([0]))
