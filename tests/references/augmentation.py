"""Mixup, MixStyle, RSC, SagNet and MIRO, one image and one channel at a time; all tensors as nested lists of numbers."""

import math


def mean(values):
    return sum(values) / len(values)


def unbiased_variance(values):
    return sum((value - mean(values)) ** 2 for value in values) / (len(values) - 1)


def cross_entropy(logits, label):
    return math.log(sum(math.exp(value) for value in logits)) - logits[label]


def blended_loss(logits, labels, partners, shares):
    """Mean over images of λ times the loss against the own label and 1 - λ times that against the partner's."""
    losses = [
        shares[n] * cross_entropy(logits[n], labels[n])
        + (1 - shares[n]) * cross_entropy(logits[n], labels[partners[n]])
        for n in range(len(logits))
    ]
    return mean(losses)


def domainbed_mixup(logits_of, images, labels, pairs):
    """DomainBed's objective: ``pairs`` of (rows of one domain, as many rows of the next, λ); the mean over the pairs."""
    total = 0.0
    for own, others, share in pairs:
        blends = [
            [share * a + (1 - share) * b for a, b in zip(images[i], images[j], strict=True)]
            for i, j in zip(own, others, strict=True)
        ]
        logits = [logits_of(blend) for blend in blends]
        total += share * mean([cross_entropy(row, labels[i]) for row, i in zip(logits, own, strict=True)])
        total += (1 - share) * mean([cross_entropy(row, labels[j]) for row, j in zip(logits, others, strict=True)])
    return total / len(pairs)


def mixed_style(maps, partners, shares, epsilon):
    """``maps[n][c]`` is the list of a channel's places; returns them with the mixed mean and deviation."""
    result = []
    for n, image in enumerate(maps):
        channels = []
        for c, places in enumerate(image):
            other = maps[partners[n]][c]
            own_deviation = math.sqrt(unbiased_variance(places) + epsilon)
            other_deviation = math.sqrt(unbiased_variance(other) + epsilon)
            deviation = shares[n] * own_deviation + (1 - shares[n]) * other_deviation
            centre = shares[n] * mean(places) + (1 - shares[n]) * mean(other)
            channels.append([(value - mean(places)) / own_deviation * deviation + centre for value in places])
        result.append(channels)
    return result


def random_style(maps, partners, shares):
    """SagNet's SR: like MixStyle, but the variances are mixed."""
    result = []
    for n, image in enumerate(maps):
        channels = []
        for c, places in enumerate(image):
            other = maps[partners[n]][c]
            variance = shares[n] * unbiased_variance(places) + (1 - shares[n]) * unbiased_variance(other)
            centre = shares[n] * mean(places) + (1 - shares[n]) * mean(other)
            own = math.sqrt(unbiased_variance(places) + 1e-5)
            channels.append([(v - mean(places)) / own * math.sqrt(variance + 1e-5) + centre for v in places])
        result.append(channels)
    return result


def random_content(maps, partners):
    """SagNet's CR: the partner's channel, in the own mean and deviation."""
    result = []
    for n, image in enumerate(maps):
        channels = []
        for c, places in enumerate(image):
            other = maps[partners[n]][c]
            theirs, own = (math.sqrt(unbiased_variance(values) + 1e-5) for values in (other, places))
            channels.append([(v - mean(other)) / theirs * own + mean(places) for v in other])
        result.append(channels)
    return result


def muted(scores, share):
    """Indices of the ⌈share · K⌉ largest scores, without those that are equal to the next one."""
    order = sorted(range(len(scores)), key=lambda k: -scores[k])
    count = min(math.ceil(share * len(scores) - 1e-6), len(scores) - 1)
    return {k for k in order[:count] if scores[k] > scores[order[count]]}


def challenged(changes, share):
    """Indices of the share of images whose own class loses most."""
    order = sorted(range(len(changes)), key=lambda n: -changes[n])
    return {n for n in order[: round(share * len(changes))] if changes[n] > 1e-4}


def distance_to_oracle(features, oracle, variances):
    """Mean negative logarithm of a Gaussian's density around the features, without its constant; ``[n][c][place]``."""
    terms = [
        (math.log(variances[c]) + (z - z0) ** 2 / variances[c]) / 2
        for image, other in zip(features, oracle, strict=True)
        for c, (places, others) in enumerate(zip(image, other, strict=True))
        for z, z0 in zip(places, others, strict=True)
    ]
    return mean(terms)
