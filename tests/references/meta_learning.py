"""Objectives of meta-learning methods written out for a network of two layers, and their derivatives by small differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Weights = Sequence[Tensor]
Rows = tuple[Tensor, Tensor]
"""Inputs (n, K) and labels (n,) of one source."""


def logits_of(weights: Weights, inputs: Tensor) -> Tensor:
    first, first_bias, second, second_bias = weights
    return torch.tanh(inputs @ first.T + first_bias) @ second.T + second_bias


def hidden_of(weights: Weights, inputs: Tensor) -> Tensor:
    return torch.tanh(inputs @ weights[0].T + weights[1])


def risk(weights: Weights, sources: Sequence[Rows]) -> Tensor:
    """Mean over sources of their mean negative log-likelihood."""
    total = torch.zeros((), dtype=weights[0].dtype)
    for inputs, labels in sources:
        probabilities = logits_of(weights, inputs).exp()
        probabilities = probabilities / probabilities.sum(1, keepdim=True)
        for row, label in enumerate(labels.tolist()):
            total = total - probabilities[row, label].log() / len(labels) / len(sources)
    return total


def gradient_of(function: Callable[[Weights], Tensor], weights: Weights) -> list[Tensor]:
    """Return the gradient at ``weights``, as constants."""
    leaves = [value.detach().clone().requires_grad_() for value in weights]
    return list(torch.autograd.grad(function(leaves), leaves))


def step_of(weights: Weights, sources: Sequence[Rows], rate: float, kind: str = "sgd") -> list[Tensor]:
    gradients = gradient_of(lambda given: risk(given, sources), weights)
    if kind == "adam":
        gradients = [value / (value.square().sqrt() + 1e-8) for value in gradients]
    return [value.detach() - rate * gradient for value, gradient in zip(weights, gradients, strict=True)]


def by_differences(function: Callable[[Weights], Tensor], weights: Weights, step: float = 1e-5) -> list[Tensor]:
    """Return the derivative of ``function`` by every single weight, by central differences."""
    found = []
    for index, value in enumerate(weights):
        slopes = torch.zeros_like(value)
        for place in range(value.numel()):
            sides = []
            for sign in (1, -1):
                moved = [other.detach().clone() for other in weights]
                moved[index].view(-1)[place] += sign * step
                sides.append(float(function(moved)))
            slopes.view(-1)[place] = (sides[0] - sides[1]) / (2 * step)
        found.append(slopes)
    return found


def mldg(weights: Weights, train: Sequence[Rows], test: Sequence[Rows], rate: float, beta: float) -> Tensor:
    """F(θ) + β G(θ - α F'(θ))."""
    return risk(weights, train) + beta * risk(step_of(weights, train, rate), test)


def mldg_first_order(
    weights: Weights, train: Sequence[Rows], test: Sequence[Rows], rate: float, beta: float, kind: str = "sgd"
) -> list[Tensor]:
    """F'(θ) + β G'(θ'), the step to θ' being a constant."""
    before = gradient_of(lambda given: risk(given, train), weights)
    after = gradient_of(lambda given: risk(given, test), step_of(weights, train, rate, kind))
    return [one + beta * other for one, other in zip(before, after, strict=True)]


def maml(weights: Weights, train: Sequence[Rows], test: Sequence[Rows], rate: float, steps: int) -> Tensor:
    """G after some steps on F."""
    for _ in range(steps):
        weights = step_of(weights, train, rate)
    return risk(weights, test)


def soft_labels(logits: Tensor, labels: Tensor, label: int, temperature: float) -> Tensor | None:
    """Softmax of the mean logits of one class over a temperature; None where there is no such row."""
    rows = [logits[row] for row, found in enumerate(labels.tolist()) if found == label]
    if not rows:
        return None
    exponentials = (torch.stack(rows).mean(0) / temperature).exp()
    return exponentials / exponentials.sum()


def masf_global(one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor], classes: int, temperature: float) -> Tensor:
    """Half of both Kullback-Leibler divergences for every class that both sources have, over all classes."""
    total = one[0].new_zeros(())
    for label in range(classes):
        p, q = (soft_labels(*rows, label, temperature) for rows in (one, other))
        if p is not None and q is not None:
            total = total + ((p * (p / q).log()).sum() + (q * (q / p).log()).sum()) / 2
    return total / classes


def semi_hard_triplets(embedded: Tensor, labels: Tensor, margin: float) -> Tensor:
    """The triplet loss of FaceNet, pair by pair."""
    found, names = [], labels.tolist()
    for anchor, label in enumerate(names):
        others = [(embedded[anchor] - embedded[row]).square().sum() for row, name in enumerate(names) if name != label]
        for positive, name in enumerate(names):
            if name != label or positive == anchor or not others:
                continue
            near = (embedded[anchor] - embedded[positive]).square().sum()
            farther = [value for value in others if value > near]
            negative = min(farther) if farther else max(others)
            found.append((margin + near - negative).clamp(min=0))
    return torch.stack(found).mean() if found else embedded.new_zeros(())


def metareg(
    phi: Weights, task: Weights, one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor], rate: float, steps: int
) -> Tensor:
    """Cross entropy of a linear task network on one source after steps on another under Σ φ |θ|."""

    def loss(weights: Weights, rows: tuple[Tensor, Tensor]) -> Tensor:
        logits = rows[0] @ weights[0].T + weights[1]
        return -logits.log_softmax(1)[torch.arange(len(rows[1])), rows[1]].mean()

    for _ in range(steps):
        gradients = gradient_of(
            lambda given: loss(given, one) + sum((p * value.abs()).sum() for p, value in zip(phi, given, strict=True)),
            task,
        )
        task = [value.detach() - rate * gradient for value, gradient in zip(task, gradients, strict=True)]
    return loss(task, other)
