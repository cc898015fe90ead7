"""The domain classifier and the weighted ensemble, one number at a time."""

import math


def softmax(scores):
    exponentials = [math.exp(score - max(scores)) for score in scores]
    return [value / sum(exponentials) for value in exponentials]


def probabilities(classifier, row):
    """Of one image's channel means, from a classifier's four tensors."""
    standard = [
        (value - mean) / scale
        for value, mean, scale in zip(row, classifier.mean.tolist(), classifier.scale.tolist(), strict=True)
    ]
    return softmax(
        [
            bias + sum(weight * value for weight, value in zip(weights, standard, strict=True))
            for weights, bias in zip(classifier.weight.tolist(), classifier.bias.tolist(), strict=True)
        ]
    )


def loss(classifier, rows, domains, weight, bias):
    """The penalised, balanced cross entropy that the classifier's weights minimise; rows are standardised by its tensors."""
    count = len(bias)
    total = sum(weight[d][k] ** 2 for d in range(count) for k in range(len(weight[0]))) / 2
    for row, domain in zip(rows, domains, strict=True):
        standard = [
            (v - m) / s for v, m, s in zip(row, classifier.mean.tolist(), classifier.scale.tolist(), strict=True)
        ]
        scores = [bias[d] + sum(w * v for w, v in zip(weight[d], standard, strict=True)) for d in range(count)]
        balance = len(rows) / (count * domains.count(domain))
        total -= balance * math.log(softmax(scores)[domain])
    return total


def weighted_logits(logits, weights):
    """Sum over domains d of weights[n][d] times logits[d][n]."""
    return [
        [sum(weights[n][d] * logits[d][n][c] for d in range(len(logits))) for c in range(len(logits[0][0]))]
        for n in range(len(weights))
    ]


def weighted_probabilities(logits, weights):
    mixed = []
    for n in range(len(weights)):
        each = [softmax(logits[d][n]) for d in range(len(logits))]
        mixed.append([sum(weights[n][d] * each[d][c] for d in range(len(logits))) for c in range(len(each[0]))])
    return mixed
