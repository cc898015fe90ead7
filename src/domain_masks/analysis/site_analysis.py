"""The masks of every site at the end of training (Section 7.1, Figure 4)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from domain_masks.masks import mask_statistics
from domain_masks.masks.functional import mask_probabilities
from domain_masks.records.analysis import Histogram, SiteAnalysis

BINS = 20


def site_analysis(logits: Tensor, sources: Sequence[str]) -> SiteAnalysis:
    """Return overlap, kinds of units, active fractions and the histogram of the probabilities of one site.

    - ``logits``: (D, K), rows in the order of ``sources``
    """
    return SiteAnalysis(
        neurons=logits.shape[1], probabilities=histogram(logits, sources), **mask_statistics(logits, sources)
    )


def histogram(logits: Tensor, sources: Sequence[str], bins: int = BINS) -> Histogram:
    """Return the histogram of each domain's mask probabilities with ``bins`` equal bins over [0, 1].

    - ``logits``: (D, K)

    A probability on an edge belongs to the upper bin, 1 to the last one.
    """
    edges = np.linspace(0.0, 1.0, bins + 1)
    probabilities = mask_probabilities(logits.detach().double().cpu()).numpy()
    counts = {source: np.histogram(row, edges)[0].tolist() for source, row in zip(sources, probabilities, strict=True)}
    return Histogram(edges=edges.tolist(), counts=counts)
