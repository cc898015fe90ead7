"""Domain classifiers with gradient reversal, for domain-adversarial training (Ganin et al., JMLR 2016)."""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch
from torch import Tensor, nn

from domain_masks.errors import InputError
from domain_masks.methods.base import Method


class _Reversal(torch.autograd.Function):
    """The identity in the forward pass; the gradient is multiplied by a negative number."""

    @staticmethod
    def forward(context: Any, inputs: Tensor, strength: float) -> Tensor:
        context.strength = strength
        return inputs.view_as(inputs)

    @staticmethod
    def backward(context: Any, *gradients: Any) -> tuple[Tensor, None]:
        return -context.strength * gradients[0], None


def reverse_gradient(inputs: Tensor, strength: float) -> Tensor:
    """Return ``inputs``; in the backward pass the gradient is multiplied by -``strength`` (the gradient reversal layer).

    Layers after it minimise a loss; layers before it maximise ``strength`` times that loss.
    """
    result: Tensor = _Reversal.apply(inputs, strength)
    return result


def growing_strength(progress: float, sharpness: float) -> float:
    """Return λ by the paper's schedule, 2 / (1 + exp(-γ p)) - 1, which grows from 0 to almost 1.

    - ``progress``: p, completed fraction of training, in [0, 1]; ``sharpness``: γ, 10 in the paper
    """
    return 2 / (1 + math.exp(-sharpness * progress)) - 1


def perceptron(inputs: int, width: int, outputs: int, layers: int) -> nn.Sequential:
    """Return ``layers`` linear layers with ReLU between them and ``width`` hidden units: (N, inputs) -> (N, outputs)."""
    widths = [inputs, *[width] * (layers - 1), outputs]
    steps: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        steps += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*steps[:-1])


def refuse_nothing_to_learn(method: Method, body: list[nn.Parameter]) -> None:
    """Raise InputError if all layers before the last one are frozen, so that the method has nothing to train."""
    if not any(parameter.requires_grad for parameter in body):
        raise InputError(
            f"method {method.name!r} trains the layers before the last one, which are all frozen: choose "
            f"an earlier --boundary than {method.network.boundary!r}, or leave --freeze_features out"
        )
