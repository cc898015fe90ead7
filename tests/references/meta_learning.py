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
