"""Ablation: the drop in accuracy when shared, specific or equally many random units are zeroed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from domain_masks.batch import DomainBatch
from domain_masks.masks.functional import mask_probabilities
from domain_masks.masks.statistics import units_by_kind
from domain_masks.randomness import generator
from domain_masks.records.analysis import AblationRow

FRACTIONS = (0.25, 0.5, 1.0)
DRAWS = 3
ALL_SITES = "all"

Masks = Mapping[str, Tensor]
"""Site -> the factors of the masks of all source domains, (D, K)."""


@dataclass(frozen=True)
class UnitChoice:
    """A choice of units to zero in the masks of all domains.

    - ``site``: the mask site, or "all"
    - ``kind``, ``matched``: see :class:`~domain_masks.records.analysis.AblationRow`
    - ``fraction``: of the kind's units
    - ``neurons``: how many units are zeroed
    - ``off``: site -> (K,), True where a unit is zeroed
    """

    site: str
    kind: str
    matched: str | None
    fraction: float
    neurons: int
    off: Mapping[str, Tensor]

    def apply(self, masks: Masks) -> dict[str, Tensor]:
        """Return the masks with those units at 0."""
        return {
            site: mask.masked_fill(self.off[site].to(mask.device), 0.0) if site in self.off else mask
            for site, mask in masks.items()
        }

    @property
    def row(self) -> tuple[str, str, str | None, float, int]:
        """The key shared by all draws of one row."""
        return self.site, self.kind, self.matched, self.fraction, self.neurons


def variants(
    logits: Masks, seed: int = 0, fractions: Sequence[float] = FRACTIONS, draws: int = DRAWS
) -> Iterator[UnitChoice]:
    """Yield the units to zero: none first, then increasing fractions of each kind at each place, in several draws.

    A draw shuffles the units of a kind and zeroes the first of them, so that larger fractions include the smaller ones;
    zeroing all units of a kind needs only one draw. The control zeroes equally many units drawn from all K. A place is one
    site, or all sites together if there are several. Kinds without units and fractions of 0 units are skipped. Draws are
    keyed by (seed, place, kind, draw).

    - ``logits``: site -> (D, K)
    """
    yield UnitChoice(ALL_SITES, "none", None, 0.0, 0, {})
    of_kind = {site: units_by_kind(values) for site, values in logits.items()}
    places: dict[str, tuple[str, ...]] = {site: (site,) for site in logits}
    if len(logits) > 1:
        places[ALL_SITES] = tuple(logits)
    for place, sites in places.items():
        for kind in ("shared", "specific"):
            counts = {site: int(of_kind[site][kind].sum()) for site in sites}
            if not sum(counts.values()):
                continue
            for control in (False, True):
                candidates = {
                    site: torch.ones_like(of_kind[site][kind]) if control else of_kind[site][kind] for site in sites
                }
                orders = [
                    {site: _order(candidates[site], seed, f"{site}/{kind}/{control}", draw) for site in sites}
                    for draw in range(draws)
                ]
                for fraction in fractions:
                    taken = {site: round(fraction * count) for site, count in counts.items()}
                    if not any(taken.values()):
                        continue
                    is_whole_kind = not control and taken == counts
                    for order in orders[:1] if is_whole_kind else orders:
                        yield UnitChoice(
                            site=place,
                            kind="random" if control else kind,
                            matched=kind if control else None,
                            fraction=fraction,
                            neurons=sum(taken.values()),
                            off={site: _zeroed(order[site], taken[site], len(candidates[site])) for site in sites},
                        )


def _order(candidates: Tensor, seed: int, stream: str, draw: int) -> Tensor:
    """Return the indices of the candidates (K,) in a random order, keyed by (seed, stream, draw)."""
    indices = candidates.nonzero().flatten()
    return indices[torch.randperm(len(indices), generator=generator(seed, f"ablation/{stream}", draw))]


def _zeroed(order: Tensor, count: int, size: int) -> Tensor:
    off = torch.zeros(size, dtype=torch.bool)
    off[order[:count]] = True
    return off


def measure(
    batches: Iterable[DomainBatch],
    features: Callable[[DomainBatch], Tensor],
    predict: Callable[[Tensor, Masks], Tensor],
    logits: Masks,
    chosen: Sequence[UnitChoice],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the class that each variant predicts for each image, (V, N), and the images' rows, (N,).

    F runs once per image, T once per image and variant.

    - ``features``: batch -> the boundary's input
    - ``predict``: features and masks -> logits (N, C) of the prediction ensemble
    - ``logits``: mask logits
    """
    soft = {site: mask_probabilities(values.detach()) for site, values in logits.items()}
    applied = [variant.apply(soft) for variant in chosen]
    predicted, rows = [], []
    with torch.inference_mode():
        for batch in batches:
            inputs = features(batch)
            predicted.append(torch.stack([predict(inputs, masks).argmax(-1) for masks in applied]).cpu().numpy())
            rows.append(batch.ids.cpu().numpy())
    return np.concatenate(predicted, axis=1), np.concatenate(rows)


def ablation_rows(
    chosen: Sequence[UnitChoice], right: NDArray[np.bool_], domains: Mapping[str, NDArray[np.bool_]]
) -> list[AblationRow]:
    """Return the rows of the table: accuracies per domain, mean and sample standard deviation over the draws.

    - ``right``: (V, N), whether each variant classifies each image correctly
    - ``domains``: domain -> (N,), True for its images
    """
    grouped: dict[tuple[str, str, str | None, float, int], list[int]] = {}
    for index, variant in enumerate(chosen):
        grouped.setdefault(variant.row, []).append(index)
    rows: list[AblationRow] = []
    for (site, kind, matched, fraction, neurons), draws in grouped.items():
        values = {name: right[draws][:, members].mean(axis=1) for name, members in domains.items()}
        deviation = {name: float(value.std(ddof=1)) for name, value in values.items()} if len(draws) > 1 else {}
        rows.append(
            AblationRow(
                site=site,
                kind=kind,
                matched=matched,
                fraction=fraction,
                neurons=neurons,
                draws=len(draws),
                accuracy={name: float(value.mean()) for name, value in values.items()},
                deviation=deviation,
            )
        )
    return rows
