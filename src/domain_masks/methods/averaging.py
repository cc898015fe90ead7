"""Average the predictions of several masks or heads."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

How = Literal["logits", "probabilities"]
"""``logits``: the mean of the logits (the authors' code); ``probabilities``: the logarithm of the mean probabilities, whose
softmax is the averaged prediction."""


def average(logits: Tensor, how: How) -> Tensor:
    """Average the logits of P predictions: (P, N, C) -> (N, C)."""
    if how == "logits":
        return logits.mean(0)
    return torch.logsumexp(torch.log_softmax(logits, -1), 0) - torch.log(logits.new_tensor(float(len(logits))))


def weighted_average(logits: Tensor, weights: Tensor, how: How) -> Tensor:
    """Average the domains' predictions with weights per image (footnote §): (D, N, C) -> (N, C).

    Equal weights give :func:`average`; weight 1 for one domain gives that domain's prediction.

    - ``logits``: (D, N, C); ``weights``: (N, D), rows that sum to 1
    """
    each = weights.t().unsqueeze(-1).to(logits.dtype)
    if how == "logits":
        return (each * logits).sum(0)
    return torch.logsumexp(torch.log_softmax(logits, -1) + each.log(), 0)
