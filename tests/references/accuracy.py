"""Accuracies, sample by sample."""


def top1(logits, labels):
    right = 0
    for row, label in zip(logits, labels, strict=True):
        best = 0
        for index in range(1, len(row)):
            if row[index] > row[best]:
                best = index
        right += best == label
    return right / len(labels)


def balanced_accuracy(logits, labels):
    by_class = {}
    for row, label in zip(logits, labels, strict=True):
        by_class.setdefault(int(label), []).append(row)
    fractions = [top1(rows, [label] * len(rows)) for label, rows in by_class.items()]
    return sum(fractions) / len(fractions)


def per_domain_accuracy(logits, labels, domains, domain_names):
    result = {}
    for index, name in enumerate(domain_names):
        rows = [number for number, domain in enumerate(domains) if domain == index]
        if rows:
            result[name] = top1([logits[row] for row in rows], [labels[row] for row in rows])
    return result


def known_domain_logits(logits, domains, domain_names):
    return [logits["known:" + domain_names[domain]][row] for row, domain in enumerate(domains)]
