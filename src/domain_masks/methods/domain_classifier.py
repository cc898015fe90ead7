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

    Fitted in closed form by :func:`fit_domain_classifier`, not trained: it has buffers and no parameters. Before
    fitting, it predicts equal probabilities of all domains.

    - ``weight``: (D, K); ``bias``: (D,)
    - ``mean``, ``scale``: (K,), by which the features are standardised
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
        """Return the probability of every source domain: channel means (N, K) -> (N, D), rows that add up to 1."""
        # In single precision whatever the network's is: also where a copy of it was halved.
        standard = (pooled.float() - self.mean.float()) / self.scale.float()
        return functional.linear(standard, self.weight.float(), self.bias.float()).softmax(-1)


def fit_domain_classifier(pooled: Tensor, domains: Tensor, count: int) -> DomainClassifier:
    """Fit a classifier of ``count`` domains, all equally likely before an image is seen, however many images each has.

    So features that tell nothing give every domain the same weight, as the prediction ensemble does. Equal arguments give
    equal classifiers.

    - ``pooled``: (N, K) channel means of training images; ``domains``: (N,) indices in [0, count)

    Raises ValueError for fewer than two domains, or one without an image.
    """
    # Loading scikit-learn takes seconds, which only a run's end needs.
    from sklearn.exceptions import ConvergenceWarning  # noqa: PLC0415
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415
    from threadpoolctl import threadpool_limits  # noqa: PLC0415

    truth = domains.cpu().numpy()
    if count < 2 or not np.array_equal(np.unique(truth), np.arange(count)):
        raise ValueError(f"expected images of each of two or more domains, got {np.unique(truth)} of {count}")
    features = pooled.double().cpu().numpy()
    mean, scale = features.mean(axis=0), features.std(axis=0)
    # A channel that never changes says nothing; any scale leaves it at 0.
    scale[scale <= 1e-6 * np.abs(mean).max(initial=1e-6)] = 1.0
    features = (features - mean) / scale
    # Linear algebra that is shared out among threads ends in other bits, and it is not PyTorch's, whose number is noted.
    with warnings.catch_warnings(), threadpool_limits(limits=1, user_api="blas"):
        # Domains that can be told apart without a mistake have no end to converge to but the regularisation's.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = LogisticRegression(class_weight="balanced", max_iter=MOST_ITERATIONS).fit(features, truth)
    weight, bias = model.coef_, model.intercept_
    if count == 2:
        # Two domains are one logit, shared out evenly here.
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    classifier = DomainClassifier(count, features.shape[1])
    for name, values in (("weight", weight), ("bias", bias), ("mean", mean), ("scale", scale)):
        getattr(classifier, name).copy_(torch.from_numpy(values))
    return classifier
