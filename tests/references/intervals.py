"""The bootstrap, picture by picture, and the exact McNemar test in whole numbers."""

import math
from fractions import Fraction

import numpy as np


def bootstrap_accuracies(groups, samples, seed):
    """Return the accuracy of every resample; each draws pictures with replacement within each domain."""
    generator = np.random.default_rng(seed)
    result = []
    for _ in range(samples):
        accuracies = []
        for group in groups:
            drawn = [group[generator.integers(len(group))] for _ in group]
            accuracies.append(sum(drawn) / len(drawn))
        result.append(sum(accuracies) / len(accuracies))
    return np.array(result)


def mcnemar_p_value(first_only, second_only):
    total = first_only + second_only
    tail = sum(math.comb(total, count) for count in range(min(first_only, second_only) + 1))
    return float(min(Fraction(1), Fraction(2 * tail, 2**total)))


def standard_deviation(values):
    mean = sum(values) / len(values)
    return math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))
