"""DICA: a kernel projection that separates classes but not domains (Muandet et al., ICML 2013)."""

from __future__ import annotations

from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional

from domain_masks.batch import DomainBatch
from domain_masks.devices import exact
from domain_masks.errors import InputError
from domain_masks.methods.base import PREDICTIONS, Context, Method, domains_of, labels_of
from domain_masks.methods.descriptions.kernel import DescribedDICA, DICASettings
from domain_masks.networks import RepresentedNetwork

_ROWS = 256
_LEAST = 1e-12


def squared_distances(rows: Tensor, landmarks: Tensor) -> Tensor:
    """Return the squared distances of rows (N, K) from landmarks (M, K); (N, M), 0 or more."""
    products = rows @ landmarks.t()
    return (rows.square().sum(1, keepdim=True) + landmarks.square().sum(1) - 2 * products).clamp(min=0)


def invariant_directions(
    features: Tensor, labels: Tensor, domains: Tensor, regulariser: float, output_regulariser: float
) -> tuple[Tensor, Tensor]:
    """Return the directions w = Φᵀb of DICA, (M, P), and their eigenvalues γ, (P,), in descending order.

    Solves the paper's problem, L(L + nεI)⁻¹ K² b = γ (KQK + K + λI) b, without an n × n matrix. K = ΦΦᵀ, L is 1 for equal
    labels and 0 otherwise, and both are centred. The rank of L is at most the number of classes, and (KQK + K + λI)⁻¹
    commutes with Φ. The paper's 1/n is a factor of γ.

    - ``features``: Φ, (n, M), centred; ``labels``, ``domains``: (n,)
    - ``regulariser``: λ; ``output_regulariser``: ε
    """
    targets = functional.one_hot(labels).to(features)
    targets = targets - targets.mean(0)
    means = torch.stack([features[domains == domain].mean(0) for domain in torch.unique(domains)])
    spread = means - means.mean(0)
    # ΦᵀQΦ: the variance of the domains' means.
    size, count = features.shape[1], len(features)
    identity = torch.eye(size).to(features)
    gram, crossed = features.t() @ features, features.t() @ targets
    within = gram @ (spread.t() @ spread / len(means) + identity) + regulariser * identity
    solved = torch.linalg.solve(within, crossed)
    smooth = targets.t() @ targets + count * output_regulariser * torch.eye(targets.shape[1]).to(features)
    small = torch.linalg.solve(smooth, crossed.t() @ gram @ solved)
    values, vectors = torch.linalg.eig(small)
    order = values.real.argsort(descending=True)
    order = order[values.real[order] > _LEAST * values.real.max().clamp(min=_LEAST)]
    return solved @ vectors.real[:, order], values.real[order]


def discriminant(scores: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Return weights (P, C) and biases (C,) of linear discriminant analysis: one Gaussian per class, with equal covariances.

    Every class has one additional image at the overall mean, so that a class without images has that mean.
    """
    members = functional.one_hot(labels, classes).to(scores)
    counts = members.sum(0)
    means = (members.t() @ scores + scores.mean(0)) / (counts + 1)[:, None]
    residuals = scores - means[labels]
    covariance = residuals.t() @ residuals / len(scores)
    covariance = covariance + 1e-6 * covariance.diagonal().mean().clamp(min=_LEAST) * torch.eye(len(covariance)).to(
        scores
    )
    weights = torch.linalg.solve(covariance, means.t())
    return weights, ((counts + 1) / (len(scores) + classes)).log() - 0.5 * (means.t() * weights).sum(0)


class DICA(DescribedDICA, Method):
    """Fits directions of a kernel's feature space that separate the classes and bring the sources' means together.

    The Gaussian kernel is computed on the inputs of the network's last layer, and its width is relative to their median
    distance; the network is not trained. The kernel is approximated with Nyström features of the landmarks, so that thousands
    of images fit into memory; with all training images as landmarks it is the paper's. Features are centred by the mean of the
    training images, also at test time: the authors' code centres test kernels by the mean of the test images, so that
    predictions depend on the batch. A linear discriminant on the projections, at most C - 1 of them, replaces the paper's SVM.
    """

    needs = "features"
    network: RepresentedNetwork

    def __init__(self, backbone: nn.Module, context: Context, settings: DICASettings) -> None:
        super().__init__(context, settings)
        self.network = RepresentedNetwork(backbone, context.boundary_of(backbone), context.image_size)
        classes, width = len(context.classes), self.network.width
        device = next(backbone.parameters()).device
        self.landmarks: Tensor
        self.weights: Tensor
        self.biases: Tensor
        self.sharpness: Tensor
        self.register_buffer("landmarks", torch.zeros(0, width, device=device))
        self.register_buffer("weights", torch.zeros(0, classes, device=device))
        self.register_buffer("biases", torch.zeros(classes, device=device))
        self.register_buffer("sharpness", torch.ones((), device=device))

    def represent(self, features: Tensor) -> Tensor:
        """Return the kernel's inputs for features (N, ...): (N, K)."""
        return self.network.channels(self.network.represent(features))

    def fit_closed_form(self, features: DomainBatch) -> None:
        """Choose landmarks, then fit projection and discriminant in double precision; raises InputError for a single class."""
        if features.features is None:
            raise ValueError("expected features to fit, got none")
        labels, domains, settings = labels_of(features), domains_of(features), self.settings
        rows = torch.cat([self.represent(part) for part in torch.split(features.features, _ROWS)]).double()
        chosen = torch.randperm(len(rows))[: settings.landmarks].sort().values.to(rows.device)
        landmarks = rows[chosen]
        # If all images are equal, the median is 0 and any width is valid.
        median = functional.pdist(landmarks).median().clamp(min=_LEAST)
        sharpness = 0.5 / (settings.width * median) ** 2
        values, vectors = torch.linalg.eigh((-sharpness * squared_distances(landmarks, landmarks)).exp())
        kept = values > settings.tolerance * values.max()
        to_features = vectors[:, kept] * values[kept].rsqrt()
        parts = [squared_distances(part, landmarks) for part in torch.split(rows, _ROWS)]
        mapped = torch.cat([(-sharpness * part).exp() @ to_features for part in parts])
        centre = mapped.mean(0)
        directions, _ = invariant_directions(
            mapped - centre, labels, domains, settings.regulariser, settings.output_regulariser
        )
        if not directions.shape[1]:
            raise InputError(
                f"method {self.name!r} found no direction that separates classes: expected images of several classes"
            )
        directions = directions[:, : settings.components]
        scores = (mapped - centre) @ directions
        directions = directions / scores.std(0, correction=0)
        weights, biases = discriminant((mapped - centre) @ directions, labels, len(self.context.classes))
        self.landmarks, self.sharpness = landmarks.float(), sharpness.float()
        self.weights = (to_features @ directions @ weights).float()
        self.biases = (biases - centre @ directions @ weights).float()

    def predict(self, batch: DomainBatch) -> dict[str, Tensor]:
        """Return the discriminant's logits for the projected features, (N, C); the kernel is computed in double precision."""
        features = self.boundary_features(batch)
        kind = features.device.type
        # In single precision, as it was fitted; torch.export would keep a context that changes nothing.
        with torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else nullcontext():
            rows = exact(self.represent(features.to(self.landmarks.dtype)))
        kernel = (-exact(self.sharpness) * squared_distances(rows, exact(self.landmarks))).exp()
        return {PREDICTIONS: (kernel @ exact(self.weights) + exact(self.biases)).to(self.landmarks.dtype)}
