"""The masks of every site, at the end and over the epochs (Section 7.1, Figure 4)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import numpy as np
from torch import Tensor

from domain_masks.masks import mask_statistics
from domain_masks.masks.functional import mask_probabilities
from domain_masks.records.analysis import Histogram, SiteAnalysis, SiteEpoch
from domain_masks.records.metrics_log import Value

BINS = 20
KINDS = ("off", "shared", "specific")


def site_analysis(logits: Tensor, sources: Sequence[str]) -> SiteAnalysis:
    """Return overlap, kinds of neurons, activated fractions and the histogram of the probabilities of one site.

    ``logits``: (D, K), the rows in the order of ``sources``.
    """
    analysis: Any = {"neurons": logits.shape[1], **mask_statistics(logits, sources)}
    return cast(SiteAnalysis, analysis | {"probabilities": histogram(logits, sources)})


def histogram(logits: Tensor, sources: Sequence[str], bins: int = BINS) -> Histogram:
    """Return how many mask probabilities of each domain lie in each of ``bins`` equal parts of [0, 1].

    ``logits``: (D, K). A probability on an edge counts above it, 1 in the last part.
    """
    edges = np.linspace(0.0, 1.0, bins + 1)
    probabilities = mask_probabilities(logits.detach().double().cpu()).numpy()
    counts = {source: np.histogram(row, edges)[0].tolist() for source, row in zip(sources, probabilities, strict=True)}
    return {"edges": edges.tolist(), "counts": counts}


def site_epochs(rows: Iterable[Mapping[str, Value]]) -> list[SiteEpoch]:
    """Return a row per epoch and site from the rows of ``metrics.csv``; epochs without kinds of neurons are left out."""
    found: list[SiteEpoch] = []
    for row in rows:
        sites = dict.fromkeys(name.split("/")[1] for name in row if name.startswith("mask_kinds/"))
        for site in sites:
            kinds = {kind: row.get(f"mask_kinds/{site}/{kind}") for kind in KINDS}
            if any(value is None for value in kinds.values()):
                continue
            start = f"mask_activated/{site}/"
            entry: Any = {"epoch": row["epoch"], "site": site, **kinds}
            entry["activated"] = {name.removeprefix(start): row[name] for name in row if name.startswith(start)}
            if f"mask_iou/{site}" in row:
                entry["overall_iou"] = row[f"mask_iou/{site}"]
            found.append(entry)
    return found
