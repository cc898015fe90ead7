"""MASF (Dou et al., NeurIPS 2019): after a step on some sources, what classes mean has to be the same in the others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from domain_masks.methods.base import Context, Optimizer
from domain_masks.methods.descriptions.meta_learning import DescribedMASF, MASFSettings
from domain_masks.methods.episodes import Episodic, Part, passing, stepped
from domain_masks.networks import RepresentedNetwork
from domain_masks.networks.calling import call_with

WIDTHS = (1024, 256)
SLOPE = 0.2
"""Of the leaky ReLU in the metric embedding: TensorFlow's default, in which the authors' code is written."""


class MASF(DescribedMASF, Episodic):
    """L_task(θ) + β1 L_global(θ') + β2 L_local(θ', φ) with θ' = θ - α ∇L_task(θ) (Algorithm 1).

    L_task is the mean risk of the meta-train sources. L_global compares the soft labels of each class, softmax of its mean
    logits divided by τ, of every meta-train with every meta-test source: the paper's of its mean feature, as the last layer
    is linear. L_local is the triplet loss with semi-hard negatives of a metric embedding of what the last layer is given,
    over the images of all sources.

    The gradient goes through the inner step, as in Algorithm 1; the authors' code takes it as a constant (``order`` first).
    That code steps at α = 1e-5, as both its Adams do, clips the gradient of the regularisers too (here by ``--clip``, of all
    terms), updates them by an Adam of their own and the embedding by two, and keeps the checkpoint of the best accuracy on
    the target, which is never looked at here.
    """

    network: RepresentedNetwork
    network_kind = RepresentedNetwork
    settings: MASFSettings

    def __init__(self, backbone: nn.Module, context: Context, settings: MASFSettings) -> None:
        super().__init__(backbone, context, settings)
        hidden, embedded = WIDTHS
        self.metric = nn.Sequential(
            *(nn.Linear(self.network.width, hidden), nn.LeakyReLU(SLOPE)),
            *(nn.Linear(hidden, embedded), nn.LeakyReLU(SLOPE)),
        )

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Return those of the network and ``metric``."""
        return {**super().parameter_groups(), "metric": list(self.metric.parameters())}

    def optimizers(self) -> Mapping[str, tuple[str, ...] | Optimizer]:
        """Return one for the network and one for the metric embedding."""
        return {"network": ("body", "head"), "metric": Optimizer(("metric",), lr=self.settings.metric_lr)}

    def training_only(self) -> tuple[str, ...]:
        """Return the metric embedding: it predicts nothing."""
        return ("metric",)

    def losses(self, train: Part, test: Part) -> dict[str, Tensor]:
        """Return L_task, β1 L_global and β2 L_local."""
        settings, weights = self.settings, self.weights()
        before = self.risk(train, self.logits(train, {}, own=True))
        after = stepped(weights, before, settings.inner_lr, settings.order == "second", clip=settings.clip)
        everything = Part(train.batch, tuple(range(len(self.context.sources))))
        represented, logits = self._pass(everything, after)
        self.refuse_diverged(self.risk(everything, logits.detach()), settings.inner_lr)
        means = class_means(logits / settings.temperature, everything, len(self.context.classes))
        pairs = [(means[one], means[other]) for one in train.domains for other in test.domains]
        aligned = torch.stack([soft_label_divergence(*pair) for pair in pairs]).mean()
        embedded = self.metric(self.network.channels(represented))
        embedded = embedded.to(torch.promote_types(embedded.dtype, torch.float32))
        clustered = semi_hard_triplets(embedded, everything.labels, settings.margin)
        return {
            "task": before,
            "global": settings.global_weight * aligned,
            "local": settings.local_weight * clustered,
        }

    def _pass(self, part: Part, weights: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return what the last layer is given and the logits, of the rows of all processes."""

        def run(network: RepresentedNetwork) -> Any:
            batch = part.batch
            features = network.features(self.images_of(batch)) if batch.features is None else batch.features
            represented = network.represent(features)
            return represented, network.classify(represented)

        with passing(part):
            represented, logits = call_with(self.network, weights, run)
        return part.gather(represented), part.gather(logits)


def class_means(logits: Tensor, part: Part, classes: int) -> dict[int, tuple[Tensor, Tensor]]:
    """Return source -> the mean logits (C, C) of its images of each class, and which classes it has images of, (C,) bool."""
    mean_logits = {}
    for domain in part.domains:
        rows = part.sources == domain
        members = (part.labels[rows] == torch.arange(classes, device=logits.device)[:, None]).to(logits.dtype)
        counts = members.sum(1, keepdim=True)
        mean_logits[domain] = members @ logits[rows] / counts.clamp(min=1), counts[:, 0] > 0
    return mean_logits


def soft_label_divergence(one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]) -> Tensor:
    """Return half the sum of both Kullback-Leibler divergences of the classes' soft labels, over the number of classes.

    - ``one``, ``other``: mean logits (C, C) divided by the temperature, and which classes there are; one that is not in both
      counts nothing
    """
    both = one[1] & other[1]
    first, second = one[0][both].log_softmax(1), other[0][both].log_softmax(1)
    # p (log p - log q) + q (log q - log p)
    return ((first.exp() - second.exp()) * (first - second)).sum() / 2 / len(both)


def semi_hard_triplets(embedded: Tensor, labels: Tensor, margin: float) -> Tensor:
    """Return the triplet loss, the mean over pairs of one class, in squared distances (FaceNet, Section 3.2).

    The negative of a pair is the nearest image of another class that is farther away than the pair's other image, or, where
    there is none, the farthest. 0 where no pair has a negative.

    - ``embedded``: (N, K); ``labels``: (N,)
    """
    apart = (embedded[:, None] - embedded).square().sum(2)
    same = labels[:, None] == labels
    negatives = apart.masked_fill(same, torch.inf).sort(1).values
    count = (~same).sum(1, keepdim=True)
    places = torch.searchsorted(negatives.detach(), apart.detach(), right=True)
    chosen = negatives.gather(1, torch.minimum(places, (count - 1).clamp(min=0)))
    pairs = same & (count > 0)
    pairs.fill_diagonal_(False)
    losses = (margin + apart[pairs] - chosen[pairs]).clamp(min=0)
    return losses.sum() / max(1, len(losses))
