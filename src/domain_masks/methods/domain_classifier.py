"""A classifier of source domains, whose probabilities weight the domains' predictions (the paper's footnote §)."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

MOST_ITERATIONS = 500


class DomainClassifier(nn.Module):
    """Multinomial logistic regression on the standardised channel means of the boundary's input.

    It is fitted by :func:`fit_domain_classifier` after training, so it has buffers and no parameters. Before fitting, all
    domains have equal probabilities.

    - ``weight``: (D, K); ``bias``: (D,)
    - ``mean``, ``scale``: (K,), mean and standard deviation for the standardisation
    """

    weight: Tensor
    bias: Tensor
    mean: Tensor
    scale: Tensor

    def __init__(self, domains: int, channels: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(domains, channels))
        self.register_buffer("bias", torch.zeros(domains))
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("scale", torch.ones(channels))

    def forward(self, pooled: Tensor) -> Tensor:
        """Return the probability of every source domain: channel means (N, K) -> (N, D), rows that sum to 1."""
        # In single precision, also if the network was converted to half precision.
        standard = (pooled.float() - self.mean.float()) / self.scale.float()
        return functional.linear(standard, self.weight.float(), self.bias.float()).softmax(-1)


def fit_domain_classifier(pooled: Tensor, domains: Tensor, count: int) -> DomainClassifier:
    """Fit a classifier of ``count`` domains with equal prior probabilities, whatever their numbers of images.

    Uninformative features therefore give equal weights, as in the prediction ensemble. The result is deterministic.

    - ``pooled``: (N, K) channel means of training images; ``domains``: (N,) indices in [0, count)

    Raises ValueError for fewer than two domains, or one without an image.
    """
    # Importing scikit-learn takes seconds, and only the end of a run needs it.
    from sklearn.exceptions import ConvergenceWarning  # noqa: PLC0415
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415
    from threadpoolctl import threadpool_limits  # noqa: PLC0415

    truth = domains.cpu().numpy()
    if count < 2 or not np.array_equal(np.unique(truth), np.arange(count)):
        raise ValueError(f"expected images of each of two or more domains, got {np.unique(truth)} of {count}")
    features = pooled.double().cpu().numpy()
    mean, scale = features.mean(axis=0), features.std(axis=0)
    # A constant channel is 0 after centring, for any scale.
    scale[scale <= 1e-6 * np.abs(mean).max(initial=1e-6)] = 1.0
    features = (features - mean) / scale
    # BLAS results depend on the number of threads; this BLAS is not PyTorch's, whose number of threads is recorded.
    with warnings.catch_warnings(), threadpool_limits(limits=1, user_api="blas"):
        # For separable domains only the regularisation bounds the weights, and convergence is slow.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = LogisticRegression(class_weight="balanced", max_iter=MOST_ITERATIONS).fit(features, truth)
    weight, bias = model.coef_, model.intercept_
    if count == 2:
        # For two domains scikit-learn has one logit, which is split into two of opposite sign.
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    classifier = DomainClassifier(count, features.shape[1])
    for name, values in (("weight", weight), ("bias", bias), ("mean", mean), ("scale", scale)):
        getattr(classifier, name).copy_(torch.from_numpy(values))
    return classifier
