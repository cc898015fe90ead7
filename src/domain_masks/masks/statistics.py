"""Statistics of the masks of a trained network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from domain_masks.masks.functional import hard_masks, pairwise_soft_iou
from domain_masks.records.pairs import pair_key


def mask_statistics(logits: Tensor, domains: Sequence[str]) -> dict[str, Any]:
    """Return overlap, activation and kinds of neurons of one site's hard masks 1[m > 0.5] (Section 7.1, Figure 4).

    - ``logits``: (D, K)
    - ``domains``: the D names of the rows
    - returns: ``overall_iou``, the mean over pairs (absent for one domain); ``pairwise_iou``, "first|second" (see
      :func:`~domain_masks.records.pairs.pair_key`) -> IoU, which is 1 for two empty masks; ``activated``, domain ->
      fraction of active neurons; ``average_activated``, its mean; ``kinds``, the fractions of neurons that are ``off`` in all
      masks, ``shared`` by all, and ``specific`` to some, which add up to 1. All in [0, 1].
    """
    hard = hard_masks(logits.detach()).cpu().double()
    iou = pairwise_soft_iou(hard)
    pairs = {
        pair_key(first, second): float(iou[i, j])
        for i, first in enumerate(domains)
        for j, second in enumerate(domains)
        if i < j
    }
    statistics: dict[str, Any] = {"overall_iou": sum(pairs.values()) / len(pairs)} if pairs else {}
    statistics["pairwise_iou"] = pairs
    statistics["activated"] = {name: float(row.mean()) for name, row in zip(domains, hard, strict=True)}
    statistics["average_activated"] = float(hard.mean())
    statistics["kinds"] = neuron_kinds(logits)
    return statistics


@dataclass(frozen=True, slots=True)
class NeuronCounts:
    """Numbers of neurons of a mask site by the hard masks 1[m > 0.5] in which they are active; ``parts`` add up to ``size``.

    - ``shared``: active in all masks; with one domain, all active neurons
    - ``several``: active in more than one mask, but not in all
    - ``alone``: per domain, active in its mask alone
    - ``off``: active in no mask
    """

    size: int
    shared: int
    several: int
    alone: tuple[int, ...]
    off: int

    @property
    def parts(self) -> tuple[int, ...]:
        """The counts of all kinds: shared, several, alone by domain, off."""
        return self.shared, self.several, *self.alone, self.off


def neuron_counts(logits: Tensor) -> NeuronCounts:
    """Return the counts of Section 7.1's three kinds of neurons, the specific ones by domain; ``logits``: (D, K)."""
    hard, kinds = hard_masks(logits.detach()).cpu(), units_by_kind(logits)
    alone = tuple((hard & kinds["specific"] & (hard.sum(0) == 1)).sum(1).tolist())
    shared, specific, off = (int(kinds[kind].sum()) for kind in ("shared", "specific", "off"))
    return NeuronCounts(hard.shape[1], shared, specific - sum(alone), alone, off)


def neuron_kinds(logits: Tensor) -> dict[str, float]:
    """Return the fraction of neurons of each kind; see :func:`units_by_kind`. ``logits``: (D, K)."""
    return {kind: float(units.double().mean()) for kind, units in units_by_kind(logits).items()}


def units_by_kind(logits: Tensor) -> dict[str, Tensor]:
    """Return ``off`` in all hard masks, ``shared`` by all, and ``specific`` to some -> (K,), True for a unit of that kind.

    ``logits``: (D, K). The paper's three categories (Section 7.1): equally useless, equally useful, domain-specific.
    """
    active = hard_masks(logits.detach()).cpu().sum(0)
    off, shared = active == 0, active == len(logits)
    return {"off": off, "shared": shared, "specific": ~off & ~shared}
