"""F1, top-k, AUROC and temperatures, sample by sample and pair by pair."""

import math

from references.ensembles import softmax


def largest(row):
    return max(range(len(row)), key=lambda index: (row[index], -index))


def macro_f1(logits, labels):
    guesses = [largest(row) for row in logits]
    values = []
    for name in set(labels):
        hits = sum(guess == name == label for guess, label in zip(guesses, labels, strict=True))
        values.append(2 * hits / (guesses.count(name) + list(labels).count(name)))
    return sum(values) / len(values)


def top_k(logits, labels, k):
    hits = 0
    for row, label in zip(logits, labels, strict=True):
        order = sorted(range(len(row)), key=lambda index: (-row[index], index))
        hits += label in order[:k]
    return hits / len(labels)


def auroc(logits, labels, name):
    """Return how often a sample of the class has the higher probability than one of another, a tie counting half."""
    scores = [softmax(row)[name] for row in logits]
    own = [score for score, label in zip(scores, labels, strict=True) if label == name]
    others = [score for score, label in zip(scores, labels, strict=True) if label != name]
    if not own or not others:
        return None
    wins = sum((one > other) + 0.5 * (one == other) for one in own for other in others)
    return wins / (len(own) * len(others))


def negative_log_likelihood(logits, labels, temperature):
    losses = [
        -math.log(softmax([value / temperature for value in row])[label])
        for row, label in zip(logits, labels, strict=True)
    ]
    return sum(losses) / len(losses)
