"""The expected calibration error of Guo et al. (2017), bin by bin."""

import itertools

import numpy as np

from references.ensembles import softmax


def expected_calibration_error(logits, labels, bins):
    samples = []
    for row, label in zip(logits, labels, strict=True):
        probabilities = softmax(row)
        confidence = max(probabilities)
        samples.append((confidence, probabilities.index(confidence) == label))
    edges = np.linspace(0.0, 1.0, bins + 1)
    error = 0.0
    for low, high in itertools.pairwise(edges):
        inside = [sample for sample in samples if low < sample[0] <= high]
        if inside:
            accuracy = sum(right for _, right in inside) / len(inside)
            confidence = sum(value for value, _ in inside) / len(inside)
            error += len(inside) / len(samples) * abs(accuracy - confidence)
    return error
