"""Averages over domains, number by number."""

import math


def average_logits(logits):
    count, rows, classes = len(logits), len(logits[0]), len(logits[0][0])
    return [[sum(logits[d][n][c] for d in range(count)) / count for c in range(classes)] for n in range(rows)]


def softmax(row):
    exponentials = [math.exp(value) for value in row]
    return [value / sum(exponentials) for value in exponentials]


def average_probabilities(logits):
    probabilities = [[softmax(row) for row in domain] for domain in logits]
    return [[math.log(value) for value in row] for row in average_logits(probabilities)]
