"""What the masks of a trained network look like, in numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from domain_masks.masks.functional import hard_masks, pairwise_soft_iou


def mask_statistics(logits: Tensor, domains: Sequence[str]) -> dict[str, Any]:
    """Return overlap and activation of one site's hard masks 1[m > 0.5] (Section 4.2, Figure 4).

    - ``logits``: (D, K)
    - ``domains``: the D names of the rows
    - returns: ``overall_iou``, the mean over pairs (absent for one domain); ``pairwise_iou``, "first|second" -> IoU;
      ``activated``, domain -> fraction of neurons that are on. All in [0, 1].
    """
    hard = hard_masks(logits.detach()).double().cpu()
    iou = pairwise_soft_iou(hard)
    pairs = {
        f"{first}|{second}": float(iou[i, j])
        for i, first in enumerate(domains)
        for j, second in enumerate(domains)
        if i < j
    }
    statistics: dict[str, Any] = {"overall_iou": sum(pairs.values()) / len(pairs)} if pairs else {}
    statistics["pairwise_iou"] = pairs
    statistics["activated"] = {name: float(row.mean()) for name, row in zip(domains, hard, strict=True)}
    return statistics
