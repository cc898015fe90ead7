"""The terms of IRM, V-REx, GroupDRO, CORAL, MMD, Fishr, SAM, SAGM and CSD, one source, pair or instance at a time."""

import math
from itertools import combinations

import torch
from torch.nn import functional


def risks(logits, labels, domains, count):
    return [functional.cross_entropy(logits[domains == d], labels[domains == d]) for d in range(count)]


def scale_gradient(logits, labels):
    """Of the mean cross entropy, by a number that the logits are multiplied with."""
    scale = torch.ones((), dtype=logits.dtype, requires_grad=True)
    (gradient,) = torch.autograd.grad(functional.cross_entropy(scale * logits, labels), scale, create_graph=True)
    return gradient


def irm(logits, labels, domains, count, estimate):
    total = 0.0
    for d in range(count):
        own, targets = logits[domains == d], labels[domains == d]
        if estimate == "squared":
            total = total + scale_gradient(own, targets) ** 2
        else:
            total = total + scale_gradient(own[::2], targets[::2]) * scale_gradient(own[1::2], targets[1::2])
    return total / count


def variance(values):
    mean = sum(values) / len(values)
    return sum((value - mean) ** 2 for value in values) / len(values)


def group_weights(weights, values, step_size):
    moved = [weight * math.exp(step_size * value.item()) for weight, value in zip(weights, values, strict=True)]
    return [weight / sum(moved) for weight in moved]


def covariance(rows):
    mean = sum(rows) / len(rows)
    return sum(torch.outer(row - mean, row - mean) for row in rows) / (len(rows) - 1)


def coral(features, domains, count, matched):
    distances = []
    for i, j in combinations(range(count), 2):
        first, second = features[domains == i], features[domains == j]
        apart = ((covariance(first) - covariance(second)) ** 2).sum()
        width = features.shape[1]
        if matched == "covariance":
            distances.append(apart / (4 * width**2))
        else:
            distances.append(((first.mean(0) - second.mean(0)) ** 2).sum() / width + apart / width**2)
    return sum(distances) / len(distances)


def mmd(features, domains, count, gammas):
    def mean_kernel(first, second):
        values = [(-gamma * ((x - y) ** 2).sum()).exp() for x in first for y in second for gamma in gammas]
        return sum(values) / (len(first) * len(second))

    distances = []
    for i, j in combinations(range(count), 2):
        x, y = features[domains == i], features[domains == j]
        distances.append(mean_kernel(x, x) + mean_kernel(y, y) - 2 * mean_kernel(x, y))
    return sum(distances) / len(distances)


def gradient_variances(inputs, weight, bias, labels, domains, count):
    """Of weight and bias of the last layer, all in one row per source."""
    rows = []
    for x, label in zip(inputs, labels, strict=True):
        loss = functional.cross_entropy((weight @ x + bias)[None], label[None])
        of_weight, of_bias = torch.autograd.grad(loss, (weight, bias), create_graph=True)
        rows.append(torch.cat([of_weight, of_bias[:, None]], 1).flatten())
    rows = torch.stack(rows)
    return torch.stack([rows[domains == d].var(0, unbiased=False) for d in range(count)])


def fishr(variances):
    mean = sum(variances) / len(variances)
    return sum(((own - mean) ** 2).mean() for own in variances) / len(variances)


def sharpness_aware_step(module, loss_of, radius, descent, share_here, rate):
    """One step of plain gradient descent; the weights are really moved and put back. Returns both losses."""
    parameters = list(module.parameters())
    here = loss_of(module)
    first = torch.autograd.grad(here, parameters)
    norm = sum((gradient**2).sum() for gradient in first) ** 0.5
    before = [parameter.detach().clone() for parameter in parameters]
    with torch.no_grad():
        for parameter, gradient in zip(parameters, first, strict=True):
            parameter.add_(radius * gradient / norm - descent * gradient)
    there = loss_of(module)
    second = torch.autograd.grad(there, parameters)
    with torch.no_grad():
        for parameter, own, g, h in zip(parameters, before, first, second, strict=True):
            parameter.copy_(own - rate * (share_here * g + (1 - share_here) * h))
    return float(here.detach()), float(there.detach())


def csd(inputs, labels, domains, common, specific, released):
    """The three terms; ``common``: weight, bias, factor; ``specific``: weights (k, C, K), biases (k, C), factors (D, k)."""
    weight, bias, factor = common
    weights, biases, factors = specific
    squash = torch.tanh if released else lambda value: value
    own = []
    for x, d in zip(inputs, domains.tolist(), strict=True):
        w, b = weight * (squash(factor) if released else 1.0), bias * (squash(factor) if released else 1.0)
        for k in range(len(weights)):
            w, b = w + squash(factors[d][k]) * weights[k], b + squash(factors[d][k]) * biases[k]
        own.append(w @ x + b)
    penalty, entries = 0.0, 0
    for y in range(len(bias)):
        rows = torch.stack([weight[y], *(weights[k][y] for k in range(len(weights)))])
        apart = (torch.eye(len(rows)) - rows @ rows.T) ** 2
        penalty, entries = penalty + apart.sum(), entries + apart.numel()
    return {
        "specific": functional.cross_entropy(torch.stack(own), labels),
        "common": functional.cross_entropy(inputs @ weight.T + bias, labels),
        "orthonormality": penalty / entries if released else penalty,
    }
