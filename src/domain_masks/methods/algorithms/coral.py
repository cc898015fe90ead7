"""CORAL: align mean and covariance of the features between sources (Sun and Saenko, 2016, as in DomainBed)."""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor

from domain_masks.devices import moved
from domain_masks.methods.algorithms.feature_alignment import FeatureAlignment
from domain_masks.methods.descriptions.alignment import DescribedCORAL


def covariance(features: Tensor) -> Tensor:
    """Return the unbiased covariance of rows (N, K), (K, K): ``features.T.cov()``, which would synchronise with a GPU."""
    columns = features.T
    centred = columns - (columns.sum(1) / len(features)).unsqueeze(1)
    return centred @ centred.T / (len(features) - 1)


def coral_distance(features: Tensor, rows: Tensor, *, with_mean: bool = True) -> Tensor:
    """Return the distance between the first two moments of the features, averaged over all pairs of sources.

    - ``features``: (N, K); ``rows``: (D, N) bool on the CPU, the rows of each source, at least two
    - ``with_mean``: add the mean squared difference of the means to that of the covariances' entries (DomainBed); else return
      a quarter of the latter, ‖C_i - C_j‖² / 4K² (Deep CORAL, Equation 1)
    - returns: scalar, 0 or more
    """
    by_source = [features[moved(members.nonzero()[:, 0], features.device)] for members in rows]
    means = [members.mean(0) for members in by_source]
    covariances = [covariance(members) for members in by_source]
    distances = []
    for first, second in combinations(range(len(by_source)), 2):
        distance = (covariances[first] - covariances[second]).square().mean()
        difference = (means[first] - means[second]).square().mean()
        distances.append(difference + distance if with_mean else distance / 4)
    return torch.stack(distances).mean()


class CORAL(DescribedCORAL, FeatureAlignment):
    """Penalises the distance between mean and covariance of the last layer's input, for all pairs of sources."""

    def distance(self, features: Tensor, rows: Tensor) -> Tensor:
        """Return :func:`coral_distance` with the statistics that the setting ``matched`` names; a scalar."""
        return coral_distance(features, rows, with_mean=self.settings.matched == "mean-covariance")
