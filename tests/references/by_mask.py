"""Which source an image is most like, and which classes are taken for which: sample by sample."""

from references.ensembles import softmax


def nearest_source(logits):
    """``logits``: (D, N, C) as nested lists; the first of equally confident sources."""
    chosen = []
    for sample in range(len(logits[0])):
        sure = [max(softmax(source[sample])) for source in logits]
        chosen.append(sure.index(max(sure)))
    return chosen


def confusion_matrix(predicted, labels, classes):
    matrix = [[0] * classes for _ in range(classes)]
    for guess, label in zip(predicted, labels, strict=True):
        matrix[label][guess] += 1
    return matrix
