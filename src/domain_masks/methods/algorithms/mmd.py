"""MMD: features whose distributions are alike in all sources, by a kernel (Li et al., CVPR 2018, as in DomainBed)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from domain_masks.methods.algorithms.feature_alignment import FeatureAlignment
from domain_masks.methods.descriptions.alignment import DescribedMMD
from domain_masks.methods.one_network import mean_weights


def gaussian_kernels(features: Tensor, gammas: Sequence[float]) -> Tensor:
    """Return the sum over ``gammas`` of exp(-γ ‖x - y‖²) for all pairs of rows: (N, K) -> (N, N), in double precision.

    In single precision ‖x‖² + ‖y‖² - 2xy is off by so much that a γ of 1000 makes numbers of the rounding.
    """
    features = features.double()
    squares = features.square().sum(1)
    distances = (squares[:, None] + squares - 2 * features @ features.T).clamp(min=0.0)
    return torch.stack([(-gamma * distances).exp() for gamma in gammas]).sum(0)


def squared_discrepancy(kernel: Tensor, rows: Tensor) -> Tensor:
    """Return the mean over all pairs of sources of their squared maximum mean discrepancy, the biased estimate.

    - ``kernel``: (N, N); ``rows``: (D, N), which instances each source has
    - returns: scalar
    """
    weights = mean_weights(rows, kernel)
    means = weights @ kernel @ weights.T
    own = means.diagonal()
    first, second = torch.triu_indices(len(means), len(means), offset=1, device=means.device)
    return (own[first] + own[second] - 2 * means[first, second]).mean()


class MMD(DescribedMMD, FeatureAlignment):
    """Makes the distributions of what the last layer takes alike in all pairs of sources.

    The paper's auto-encoder and its adversary, which give the features a prior, are not here, as in DomainBed.
    """

    def distance(self, features: Tensor, rows: Tensor) -> Tensor:
        """Return the mean squared discrepancy of all pairs of sources."""
        return squared_discrepancy(gaussian_kernels(features, self.settings.gammas), rows).float()
