"""The mask formulas in plain Python, one number at a time."""

import math


def sigmoid(value):
    return 1 / (1 + math.exp(-value))


def probabilities(logits):
    return [[sigmoid(value) for value in row] for row in logits]


def sample(logits, domains, noise):
    drawn = []
    for domain, numbers in zip(domains, noise, strict=True):
        drawn.append(
            [1.0 if number < sigmoid(value) else 0.0 for value, number in zip(logits[domain], numbers, strict=True)]
        )
    return drawn


def sample_gradient(logits, domains, upstream):
    """The straight-through rule: upstream · σ'(m̃), summed over the instances of each domain."""
    gradient = [[0.0] * len(row) for row in logits]
    for domain, arriving in zip(domains, upstream, strict=True):
        for k, value in enumerate(logits[domain]):
            gradient[domain][k] += arriving[k] * sigmoid(value) * (1 - sigmoid(value))
    return gradient


def soft_iou(p, q, epsilon=0.0):
    """Equation 1."""
    above = below = 0.0
    for first, second in zip(p, q, strict=True):
        above += first * second
        below += first + second - first * second
    if below == 0 and epsilon == 0:
        return 1.0  # two empty masks are equal
    return (above + epsilon) / (below + epsilon)


def pairwise_soft_iou(masks, epsilon=0.0):
    return [[soft_iou(first, second, epsilon) for second in masks] for first in masks]


def overlap_loss(logits, reduction="sum", epsilon=0.0):
    """Equation 2's sum over pairs, for one site."""
    masks = probabilities(logits)
    total = 0.0
    pairs = 0
    for i in range(len(masks)):
        for j in range(i + 1, len(masks)):
            total += soft_iou(masks[i], masks[j], epsilon)
            pairs += 1
    if pairs == 0:
        return 0.0
    return total if reduction == "sum" else total / pairs


def sparsity_loss(logits):
    return sum(abs(value) for row in probabilities(logits) for value in row)


def hard(logits):
    return [[sigmoid(value) > 0.5 for value in row] for row in logits]


def domain_logits(network, images, logits, sites):
    """One full pass of the user's network per domain, with the soft masks multiplied in at the sites' inputs.

    ``logits`` is site -> (D, K); ``sites`` is name -> channel axis.
    """
    results = []
    for domain in range(len(next(iter(logits.values())))):
        hooks = []
        for name, axis in sites.items():
            mask = logits[name][domain].sigmoid()

            def multiply(module, args, mask=mask, axis=axis):
                return (args[0] * _along(mask, args[0].dim(), axis), *args[1:])

            hooks.append(network.get_submodule(name).register_forward_pre_hook(multiply))
        results.append(network(images))
        for hook in hooks:
            hook.remove()
    return results


def prediction_ensemble(network, images, logits, sites):
    """The mean of the domains' logits (Pred-Ens)."""
    each = domain_logits(network, images, logits, sites)
    return sum(each) / len(each)


def _along(mask, dimensions, axis):
    shape = [1] * dimensions
    shape[axis] = -1
    return mask.reshape(shape)
