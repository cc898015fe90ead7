"""The bootstrap, image by image, and the exact McNemar test in whole numbers."""

import math
from fractions import Fraction

import numpy as np


def drawn_from(values, extremes, generator):
    """Return as many of the values as there are, or of the extremes, each of which counts as half a value."""
    places = [int(generator.integers(2 * len(values) + 2)) - 2 for _ in values]
    return [values[place // 2] if place >= 0 else extremes[place] for place in places]


def bootstrap_accuracies(groups, samples, seed):
    """Return the accuracy of every resample; each draws images with replacement within each domain."""
    return stratified_sums(
        [[right / len(groups) for right in group] for group in groups],
        [(0.0, 1 / len(groups))] * len(groups),
        samples,
        seed,
    )


def mcnemar_p_value(first_only, second_only):
    total = first_only + second_only
    tail = sum(math.comb(total, count) for count in range(min(first_only, second_only) + 1))
    return float(min(Fraction(1), Fraction(2 * tail, 2**total)))


def standard_deviation(values):
    mean = sum(values) / len(values)
    return math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))


def stratified_sums(strata, extremes, samples, seed):
    """Return the sum over strata of the mean of every resample, drawn value by value."""
    generator = np.random.default_rng(seed)
    result = []
    for _ in range(samples):
        total = 0.0
        for values, ends in zip(strata, extremes, strict=True):
            drawn = drawn_from(values, ends, generator)
            total += sum(drawn) / len(drawn)
        result.append(total)
    return np.array(result)


def holm(p_values):
    """Return each p value times the number of those that are not smaller, and at least every one before it."""
    ranked = sorted(range(len(p_values)), key=lambda index: p_values[index])
    corrected = {}
    for rank, index in enumerate(ranked):
        candidates = [(len(p_values) - earlier) * p_values[ranked[earlier]] for earlier in range(rank + 1)]
        corrected[index] = min(1.0, max(candidates))
    return [corrected[index] for index in range(len(p_values))]
