"""The mask operations as pure functions of tensors.

D is the number of source domains (rows), K the number of neurons or channels of one mask site, N the batch size.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Reduction = Literal["sum", "mean"]


def mask_probabilities(logits: Tensor) -> Tensor:
    """Return the mask probabilities m = sigmoid(m̃), in (0, 1), of the shape of ``logits`` (Section 3.2)."""
    return torch.sigmoid(logits)


def sample_masks(logits: Tensor, domains: Tensor, noise: Tensor | None = None) -> Tensor:
    """Draw one hard mask per instance from its own domain's probabilities, with the straight-through gradient.

    Section 3.2: the mask of instance i of domain d is Bernoulli(sigmoid(m̃_d)); in the backward pass, the gradient with
    respect to the hard mask is used as the gradient with respect to the probabilities, and continues through the sigmoid.

    - ``logits``: mask logits m̃, (D, K)
    - ``domains``: (N,) integers in [0, D)
    - ``noise``: (N, K), uniform in [0, 1); None draws them from torch's global generator
    - returns: (N, K), exactly 0 or 1, of the type of ``logits``; those of half precision are compared in float32, whose
      uniform numbers are fine enough for probabilities near 0 and 1

    Raises ValueError for a shape that does not fit.
    """
    if logits.dim() != 2 or domains.dim() != 1:
        raise ValueError(
            f"expected logits (D, K) and domains (N,), got {tuple(logits.shape)} and {tuple(domains.shape)}"
        )
    probabilities = torch.sigmoid(_in_full_precision(logits)).index_select(0, domains)
    if noise is None:
        noise = torch.rand_like(probabilities)
    elif noise.shape != probabilities.shape:
        raise ValueError(f"expected noise of shape {tuple(probabilities.shape)}, got {tuple(noise.shape)}")
    hard = (noise < probabilities).to(probabilities.dtype)
    # The bracket is exactly zero, so the value stays exactly 0 or 1; the gradient is that of the probabilities.
    return (hard + (probabilities - probabilities.detach())).to(logits.dtype)


def hard_masks(logits: Tensor) -> Tensor:
    """Return 1[m > 0.5] as booleans, of the shape of ``logits``: the masks that are analysed (Sections 5 and 7.1)."""
    return logits > 0


def soft_iou(p: Tensor, q: Tensor, epsilon: float = 0.0) -> Tensor:
    """Return the soft intersection over union of two masks (Equation 1).

    sIoU = (p · q) / Σ_k (p + q − p ⊙ q). Two empty masks have no union: they are equal, and their IoU is 1, as in the
    authors' code, with gradient 0. (Soft masks that are almost empty have a small sIoU.)

    - ``p``, ``q``: (..., K), in [0, 1]; hard masks, also as booleans, give the ordinary IoU
    - ``epsilon``: added to numerator and denominator (1e-6 in the authors' code, 0 in the paper)
    - returns: (...), in [0, 1], of a floating-point type: float32 for masks in half precision, which could not hold the sums

    Raises ValueError where the shapes differ.
    """
    if p.shape != q.shape:
        raise ValueError(f"expected two masks of one shape, got {tuple(p.shape)} and {tuple(q.shape)}")
    # The sum of two booleans would be their union.
    p, q = _in_full_precision(p), _in_full_precision(q)
    intersection = (p * q).sum(-1)
    return _ratio(intersection, (p + q).sum(-1) - intersection, epsilon)


def pairwise_soft_iou(probabilities: Tensor, epsilon: float = 0.0) -> Tensor:
    """Return the soft IoU of every pair of rows.

    - ``probabilities``: (D, K), in [0, 1]; hard masks may be booleans
    - returns: (D, D), symmetric, of the type of :func:`soft_iou`; the diagonal is the soft IoU of a mask with itself, which is
      1 only for hard masks; the value of two empty masks is 1
    """
    probabilities = _in_full_precision(probabilities)
    # Mixed precision would round the product to 8 bits; a sum over thousands of neurons needs all of them.
    with torch.autocast(probabilities.device.type, enabled=False):
        intersection = probabilities @ probabilities.T
    sizes = probabilities.sum(-1)
    return _ratio(intersection, sizes[:, None] + sizes[None, :] - intersection, epsilon)


def overlap_loss(logits: Tensor, reduction: Reduction = "sum", epsilon: float = 0.0) -> Tensor:
    """Return the soft overlap of one site's masks over all pairs i < j of source domains (inner sum of Equation 2).

    - ``logits``: mask logits m̃, (D, K)
    - ``reduction``: ``sum`` over pairs (the paper) or ``mean`` (the authors' code: D(D−1)/2 times smaller)
    - returns: scalar; 0 for a single domain

    Raises ValueError for an unknown reduction.
    """
    if reduction not in ("sum", "mean"):
        raise ValueError(f"expected reduction 'sum' or 'mean', got {reduction!r}")
    count = logits.shape[0]
    if count < 2:
        return _in_full_precision(logits).sum() * 0.0
    first, second = torch.triu_indices(count, count, offset=1, device=logits.device)
    pairs = pairwise_soft_iou(torch.sigmoid(_in_full_precision(logits)), epsilon)[first, second]
    return pairs.sum() if reduction == "sum" else pairs.mean()


def sparsity_loss(logits: Tensor) -> Tensor:
    """Return Σ_d ‖m_d‖₁ of one site's masks, the alternative to the overlap loss (Section 7.2).

    - ``logits``: mask logits m̃, (D, K)
    - returns: scalar, in (0, D·K)
    """
    return torch.sigmoid(_in_full_precision(logits)).sum()


def _in_full_precision(values: Tensor) -> Tensor:
    """Return half precision as float32, as sums over a site's neurons overflow or lose digits, booleans as the default type."""
    if not values.is_floating_point():
        return values.to(torch.get_default_dtype())
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def _ratio(intersection: Tensor, union: Tensor, epsilon: float) -> Tensor:
    if epsilon:
        return (intersection + epsilon) / (union + epsilon)
    ones = torch.ones_like(union)
    return torch.where(union > 0, intersection / torch.where(union > 0, union, ones), ones)
