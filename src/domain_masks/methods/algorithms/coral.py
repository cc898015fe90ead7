"""CORAL: features whose mean and covariance are alike in all sources (Sun and Saenko, 2016, as in DomainBed)."""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor

from domain_masks.methods.algorithms.feature_alignment import FeatureAlignment
from domain_masks.methods.descriptions.alignment import DescribedCORAL


def coral_distance(features: Tensor, rows: Tensor, *, with_mean: bool = True) -> Tensor:
    """Return the mean over all pairs of sources of how far their first two moments are apart.

    - ``features``: (N, K); ``rows``: (D, N), which of them each source has, two at least
    - ``with_mean``: the mean squared difference of the means, and of the entries of the covariances (DomainBed); else a quarter
      of the latter, ‖C_i - C_j‖² / 4K² (Deep CORAL, Equation 1)
    - returns: scalar
    """
    of_each = [features[chosen] for chosen in rows]
    means = [own.mean(0) for own in of_each]
    covariances = [own.T.cov() for own in of_each]
    distances = []
    for first, second in combinations(range(len(of_each)), 2):
        distance = (covariances[first] - covariances[second]).square().mean()
        difference = (means[first] - means[second]).square().mean()
        distances.append(difference + distance if with_mean else distance / 4)
    return torch.stack(distances).mean()


class CORAL(DescribedCORAL, FeatureAlignment):
    """Makes mean and covariance of what the last layer takes alike in all pairs of sources."""

    def distance(self, features: Tensor, rows: Tensor) -> Tensor:
        """Return the mean distance of all pairs of sources, as the setting ``matched`` says."""
        return coral_distance(features, rows, with_mean=self.settings.matched == "mean-covariance")
