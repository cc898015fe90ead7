"""Which of the paper's findings on the weights of DMG's losses the sweeps reproduce (Figures 3, 5 and 6)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any

import pandas as pd

from domain_masks.evaluation.variants import METHOD
from domain_masks.records.results import OUT_OF_DOMAIN, OVERALL
from domain_masks.report.runs.differences import IN_PART, NOT_REPRODUCED, REPRODUCED
from domain_masks.report.runs.paper_protocol import protocol_match
from domain_masks.report.tables.sweep_tables import IOU, Sweep
from domain_masks.report.tables.table import rows_of

_OVERLAP, _SPARSITY = f"{METHOD}overlap_weight", f"{METHOD}sparsity_weight"
_OTHER = {_OVERLAP: _SPARSITY, _SPARSITY: _OVERLAP}
MUCH = 2.0
"""By which factor the accuracy ranges more over λ_S than over λ_O for the finding to count as reproduced."""
LEVEL = 0.01
"""Largest increase of the overlap from one weight to the next that still counts as decreasing."""


@dataclass(frozen=True, eq=False)
class _Series:
    """The means of a sweep of one weight: weight -> out-of-domain accuracy in [0, 1], and -> IoU, mean over mask sites."""

    sweep: Sweep
    accuracies: Mapping[float, float]
    overlaps: Mapping[float, float]

    @property
    def other_weight(self) -> float:
        """The weight of the other loss where it differs between the runs of the group, otherwise 0."""
        return float(self.sweep.rest.get(_OTHER[self.sweep.setting]) or 0)

    @property
    def base(self) -> dict[str, Any]:
        """The settings beside both weights that differ between the runs of the group."""
        return {name: value for name, value in self.sweep.rest.items() if name not in _OTHER}

    @property
    def has_papers_base(self) -> bool:
        """Whether none of the settings beside both weights differs from the paper's."""
        record = next(iter(self.sweep.values.values())).records[0]
        differing = {difference.setting for difference in protocol_match(record.config)}
        return differing.isdisjoint(name.removeprefix(METHOD) for name in self.base)

    @property
    def is_the_papers(self) -> bool:
        """Whether no other setting differs from the paper's, which sweeps each weight with the other loss off."""
        return self.other_weight == 0 and self.has_papers_base


def sweep_findings(sweeps: Sequence[tuple[Sweep, pd.DataFrame]]) -> Iterator[dict[str, Any]]:
    """Yield the findings on the weights of DMG's losses; ``sweeps``: each series with its :func:`.sweep_tables.sweep_frame`.

    Judged are series with the paper's other settings; without such a series each gives a row that names its settings.
    """
    series = [
        _Series(sweep, _overall_by_value(frame, OUT_OF_DOMAIN, ""), _overall_by_value(frame, IOU, "mean"))
        for sweep, frame in sweeps
        if sweep.method == "dmg" and sweep.setting in _OTHER
    ]
    over_overlap = [one for one in series if one.sweep.setting == _OVERLAP]
    over_sparsity = [one for one in series if one.sweep.setting == _SPARSITY]
    pairs = _comparable(over_overlap, over_sparsity)
    for first, second in pairs:
        is_the_papers = len(pairs) == 1 and first.is_the_papers and second.is_the_papers
        others = "" if is_the_papers else f"; λ_O with {first.sweep.others}, λ_S with {second.sweep.others}"
        yield _sensitivity(first.accuracies, second.accuracies, others)
    tested = [one for one in over_overlap if len(one.overlaps) > 1]
    judged = [one for one in tested if one.is_the_papers] or tested
    for one in judged:
        is_the_papers = len(judged) == 1 and one.is_the_papers
        yield _decrease(one.overlaps, "" if is_the_papers or not one.sweep.others else f"; with {one.sweep.others}")


def _comparable(first: Sequence[_Series], second: Sequence[_Series]) -> list[tuple[_Series, _Series]]:
    """Return pairs with equal settings beside both weights, of each such base the pair with the lowest other weights."""
    pairs: list[tuple[_Series, _Series]] = []
    for one, other in product(*(sorted(part, key=lambda series: series.other_weight) for part in (first, second))):
        is_new = all(one.base != chosen.base for chosen, _ in pairs)
        if is_new and one.base == other.base and len(set(one.accuracies) & set(other.accuracies)) > 1:
            pairs.append((one, other))
    return [pair for pair in pairs if pair[0].has_papers_base] or pairs


def _sensitivity(
    over_overlap: Mapping[float, float], over_sparsity: Mapping[float, float], others: str
) -> dict[str, Any]:
    """Compare the range of the accuracy, averaged over held-out domains, over the weights that both sweeps have."""
    spans = {"λ_O": over_overlap, "λ_S": over_sparsity}
    common = sorted(set(over_overlap) & set(over_sparsity))
    ranges = {
        name: max(accuracies[value] for value in common) - min(accuracies[value] for value in common)
        for name, accuracies in spans.items()
    }
    here = f"over {', '.join(f'{value:g}' for value in common)}: a range of " + " and ".join(
        f"{100 * ranges[name]:.2f} points for {name}" for name in spans
    )
    here += "".join(
        f"; {name} = {', '.join(f'{value:g}' for value in left_out)} not in the other sweep, left out"
        for name, accuracies in spans.items()
        if (left_out := sorted(set(accuracies) - set(common)))
    )
    overlap, sparsity = ranges.values()
    return {
        "finding": "Out-of-domain accuracy is sensitive to λ_S, but not to λ_O",
        "paper": "Figures 3 and 6",
        "here": here + others,
        "value": sparsity - overlap,
        "result": REPRODUCED if sparsity > MUCH * overlap else IN_PART if sparsity > overlap else NOT_REPRODUCED,
    }


def _decrease(overlaps: Mapping[float, float], others: str) -> dict[str, Any]:
    (low, first), *_, (high, last) = overlaps.items()
    falls = all(after <= before + LEVEL for before, after in pairwise(overlaps.values()))
    here = f"IoU {first:.3f} at λ_O = {low:g}, {last:.3f} at {high:g}"
    return {
        "finding": "The overlap of the masks decreases with λ_O",
        "paper": "Figures 3 and 5",
        "here": here + ("" if falls else "; not decreasing monotonically") + others,
        "value": last - first,
        "result": NOT_REPRODUCED if last >= first else REPRODUCED if falls else IN_PART,
    }


def _overall_by_value(frame: pd.DataFrame, measure: str, site: str) -> dict[float, float]:
    """Return swept value -> mean over all held-out domains, sorted, for values with every domain."""
    chosen = (frame["measure"] == measure) & (frame["held_out"] == OVERALL) & (frame["site"] == site)
    rows = frame[chosen & frame["mean"].notna()].sort_values("value")
    return {float(row["value"]): float(row["mean"]) for row in rows_of(rows)}
