"""Selection, one number at a time: runs are plain (settings, targets, seed, validation, per_domain) tuples."""

from references import accuracy as slow


def validation_accuracy(predictions):
    fractions = []
    for source in predictions.sources:
        logits, labels = [], []
        for row in range(len(predictions)):
            if predictions.splits[row] == "validation" and predictions.domain_names[predictions.domains[row]] == source:
                logits.append(predictions.logits["predictions"][row])
                labels.append(predictions.labels[row])
        fractions.append(slow.top1(logits, labels))
    return sum(fractions) / len(fractions)


def source_validation(runs, target):
    scores = {}
    for settings, targets, _, validation, _ in runs:
        if targets == {target}:
            scores.setdefault(settings, []).append(validation)
    return {settings: sum(values) / len(values) for settings, values in scores.items()}


def leave_one_domain_out(runs, target, sources):
    scores = {}
    for wanted in {settings for settings, targets, *_ in runs if targets == {target}}:
        total = 0
        for source in sources:
            values = [
                per_domain[source]
                for settings, targets, _, _, per_domain in runs
                if settings == wanted and targets == {target, source}
            ]
            total += sum(values) / len(values)
        scores[wanted] = total / len(sources)
    return scores


def oracle(runs, target):
    scores = {}
    for settings, targets, _, _, per_domain in runs:
        if targets == {target}:
            scores.setdefault(settings, []).append(per_domain[target])
    return {settings: sum(values) / len(values) for settings, values in scores.items()}
