"""MASF (Dou et al., NeurIPS 2019): align the classes' soft labels between sources after a step on some of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from domain_masks.devices import moved
from domain_masks.methods.base import Context, Optimizer
from domain_masks.methods.descriptions.meta_learning import DescribedMASF, MASFSettings
from domain_masks.methods.episodes import Episodic, Part, passing, stepped
from domain_masks.networks import RepresentedNetwork
from domain_masks.networks.calling import call_with

WIDTHS = (1024, 256)
SLOPE = 0.2
"""Negative slope of the leaky ReLU in the metric embedding: the default of TensorFlow, which the authors' code uses."""


class MASF(DescribedMASF, Episodic):
    """Minimises L_task(θ) + β1 L_global(θ') + β2 L_local(θ', φ) with θ' = θ - α ∇L_task(θ) (Algorithm 1).

    L_task is the mean risk of the meta-train sources. L_global compares each class's soft labels, the softmax of its mean
    logits divided by τ, between every meta-train and every meta-test source. The paper uses the logits of the mean feature,
    which are equal because the last layer is linear. L_local is a triplet loss with semi-hard negatives on a metric embedding
    of the last layer's input, over the images of all sources.

    The gradient is taken through the inner step, as in Algorithm 1; the authors' code treats the inner gradient as a constant
    (``order=first``). That code uses α = 1e-5, the learning rate of both its Adam optimisers; clips the gradient of the
    regularisers too (here ``--clip`` clips that of all terms); updates them with a separate Adam and the embedding with two;
    and selects the checkpoint by accuracy on the target, which is never used here.
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
        """Return the network's groups, and ``metric``."""
        return {**super().parameter_groups(), "metric": list(self.metric.parameters())}

    def optimizers(self) -> Mapping[str, tuple[str, ...] | Optimizer]:
        """Return one optimiser for the network and one for the metric embedding."""
        return {"network": ("body", "head"), "metric": Optimizer(("metric",), lr=self.settings.metric_lr)}

    def training_only(self) -> tuple[str, ...]:
        """Return the metric embedding, which is not used for prediction."""
        return ("metric",)

    def losses(self, train: Part, test: Part) -> dict[str, Tensor]:
        """Return L_task, β1 L_global and β2 L_local."""
        settings, weights = self.settings, self.weights()
        before = self.risk(train, self.logits(train, {}, own=True))
        after = stepped(weights, before, settings.inner_lr, self.twice, clip=settings.clip)
        everything = Part(train.batch, tuple(range(len(self.context.sources))))
        represented, logits = self._pass(everything, after)
        self.refuse_diverged(self.risk(everything, logits.detach()), settings.inner_lr)
        means = class_means(logits / settings.temperature, everything, len(self.context.classes))
        pairs = [(means[meta_train], means[meta_test]) for meta_train in train.domains for meta_test in test.domains]
        aligned = torch.stack([soft_label_divergence(*pair) for pair in pairs]).mean()
        embedded = self.metric(self.network.channels(represented))
        embedded = embedded.to(torch.promote_types(embedded.dtype, torch.float32))
        clustered = semi_hard_triplets(embedded, everything.host_labels, settings.margin)
        return {
            "task": before,
            "global": settings.global_weight * aligned,
            "local": settings.local_weight * clustered,
        }

    def _pass(self, part: Part, weights: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the last layer's inputs and the logits, for the rows of all processes."""

        def run(network: RepresentedNetwork) -> Any:
            batch = part.batch
            features = network.features(self.images_of(batch)) if batch.features is None else batch.features
            represented = network.represent(features)
            return represented, network.classify(represented)

        with passing(part, self.twice):
            represented, logits = call_with(self.network, weights, run)
        return part.gather(represented), part.gather(logits)


def class_means(logits: Tensor, part: Part, classes: int) -> dict[int, tuple[Tensor, Tensor]]:
    """Return source -> mean logits (C, C) of its images of each class, and whether it has images of the class.

    The latter is (C,) bool, on the CPU.
    """
    mean_logits = {}
    for domain in part.domains:
        rows = part.of(domain)
        members = (part.labels[rows] == torch.arange(classes, device=logits.device)[:, None]).to(logits.dtype)
        counts = members.sum(1, keepdim=True)
        own = part.host_labels[part.host_domains == domain]
        mean_logits[domain] = members @ logits[rows] / counts.clamp(min=1), torch.bincount(own, minlength=classes) > 0
    return mean_logits


def soft_label_divergence(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> Tensor:
    """Return the symmetrised Kullback-Leibler divergence of the classes' soft labels, averaged over the C classes.

    - ``first``, ``second``: mean logits (C, C) divided by the temperature, and whether the source has images of each class,
      (C,) bool on the CPU; a class that is missing in either counts as 0
    - returns: scalar, 0 or more
    """
    both = moved((first[1] & second[1]).nonzero()[:, 0], first[0].device)
    log_p, log_q = first[0][both].log_softmax(1), second[0][both].log_softmax(1)
    # p (log p - log q) + q (log q - log p)
    return ((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum() / 2 / len(first[1])


def semi_hard_triplets(embedded: Tensor, labels: Tensor, margin: float) -> Tensor:
    """Return the triplet loss in squared distances, averaged over the pairs of the same class (FaceNet, Section 3.2).

    The negative of a pair (anchor, positive) is the nearest image of another class that is farther from the anchor than the
    positive or, if there is none, the farthest image of another class. The loss is 0 if no pair has a negative.

    - ``embedded``: (N, K); ``labels``: (N,), on the CPU; ``margin``: above 0
    - returns: scalar, 0 or more
    """
    apart = (embedded[:, None] - embedded).square().sum(2)
    same = labels[:, None] == labels
    count = (~same).sum(1, keepdim=True)
    pairs = same & (count > 0)
    pairs.fill_diagonal_(False)
    first, second = (moved(places, embedded.device) for places in pairs.nonzero().unbind(1))
    farthest = moved((count - 1).clamp(min=0), embedded.device)
    negatives = apart.masked_fill(moved(same, embedded.device), torch.inf).sort(1).values
    places = torch.searchsorted(negatives.detach(), apart.detach(), right=True)
    chosen = negatives.gather(1, torch.minimum(places, farthest))
    losses = (margin + apart[first, second] - chosen[first, second]).clamp(min=0)
    return losses.sum() / max(1, len(losses))
