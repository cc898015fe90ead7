"""MMD: align feature distributions of the sources with a kernel (Li et al., CVPR 2018, as in DomainBed)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from domain_masks.devices import exact
from domain_masks.methods.algorithms.feature_alignment import FeatureAlignment
from domain_masks.methods.descriptions.alignment import DescribedMMD
from domain_masks.methods.one_network import mean_weights


def gaussian_kernels(features: Tensor, gammas: Sequence[float]) -> Tensor:
    """Return the sum over ``gammas`` of exp(-γ ‖x - y‖²) for all pairs of rows: (N, K) -> (N, N), in double precision.

    In single precision the rounding error of ‖x‖² + ‖y‖² - 2xy dominates the result for a γ of 1000.
    """
    features = exact(features)
    squares = features.square().sum(1)
    distances = (squares[:, None] + squares - 2 * features @ features.T).clamp(min=0.0)
    return torch.stack([(-gamma * distances).exp() for gamma in gammas]).sum(0)


def squared_discrepancy(kernel: Tensor, rows: Tensor) -> Tensor:
    """Return the biased estimate of the squared maximum mean discrepancy, averaged over all pairs of sources.

    - ``kernel``: (N, N); ``rows``: (D, N) bool, the rows of each source
    - returns: scalar, 0 or more
    """
    weights = mean_weights(rows, kernel)
    means = weights @ kernel @ weights.T
    own = means.diagonal()
    first, second = torch.triu_indices(len(means), len(means), offset=1, device=means.device)
    return (own[first] + own[second] - 2 * means[first, second]).mean()


class MMD(DescribedMMD, FeatureAlignment):
    """Penalises the discrepancy between the distributions of the last layer's input, for all pairs of sources.

    As in DomainBed, the paper's auto-encoder and adversary, which impose a prior on the features, are left out.
    """

    def distance(self, features: Tensor, rows: Tensor) -> Tensor:
        """Return :func:`squared_discrepancy` with the kernels of the setting ``gammas``; a scalar."""
        return squared_discrepancy(gaussian_kernels(features, self.settings.gammas), rows).float()
