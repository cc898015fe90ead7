"""Epi-FCR: train features and classifier, each with a frozen partner from another domain (Li et al., ICCV 2019)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from domain_masks.batch import DomainBatch
from domain_masks.devices import moved
from domain_masks.methods.base import PREDICTIONS, Context, Engine, Method, Phase, labels_of, random_of
from domain_masks.methods.descriptions.meta_learning import DescribedEpiFCR, EpiFCRSettings
from domain_masks.networks import RepresentedNetwork
from domain_masks.networks.calling import call_with

_WARM_UP, _EPISODES = "warm-up", "episodes"
_MAIN, _SPECIFIC = "main", "specific"
_SAME_SIZE = 16


class EpiFCR(DescribedEpiFCR, Method):
    """Trains Aggregate's features also with other sources' frozen classifiers, and its classifier with their frozen features.

    θ is the network up to its last layer, ψ the last layer; every source i has its own network (θ_i, ψ_i), trained on its
    images alone. For an image of source i and a random j ≠ i, with frozen parts in brackets, the network minimises
    l(ψ θ x) + λ₁ l([ψ_j] θ x) + λ₂ l(ψ [θ_j] x) + λ₃ l([ψ_r] θ x), where ψ_r is a random layer that is never trained. During
    the warm-up every network minimises its own cross entropy alone. The sources' networks run in evaluation mode: without
    dropout, and with the batch-norm statistics of their initial weights.

    With ``episodes="one"`` (the authors' code) only the images of one source, drawn in each step, have the terms of λ₁ and
    λ₂, all with the same j. As in that code the terms are then weighted by the source's share of the batch.
    """

    network: RepresentedNetwork

    def __init__(self, backbone: nn.Module, context: Context, settings: EpiFCRSettings) -> None:
        super().__init__(context, settings)
        boundary, size = context.boundary_of(backbone), context.image_size
        self.network = RepresentedNetwork(backbone, boundary, size)
        backbones = [context.build_backbone() for _ in context.sources]
        self.specific = nn.ModuleList(RepresentedNetwork(specific, boundary, size) for specific in backbones)
        norms = [part for part in self.specific.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
        self._by_batch = any(norm.running_mean is None for norm in norms)
        """Whether a row of the sources' networks depends on the others, in evaluation mode, too."""
        self.head = self.network.head
        self.random_head = copy.deepcopy(backbone.get_submodule(self.head)).requires_grad_(False)
        self.random_head.reset_parameters()  # type: ignore[operator]
        if settings.batch_norm == "fixed":
            self.network.keep_statistics()

    def train(self, mode: bool = True) -> EpiFCR:
        """Set training or evaluation mode; the sources' own networks stay in evaluation mode."""
        super().train(mode)
        # A loaded model has no networks of single sources.
        if self.specific is not None:
            self.specific.eval()
        return self

    def training_only(self) -> tuple[str, ...]:
        """Return the sources' own networks and the random classifier."""
        return ("specific", "random_head")

    def phases(self) -> Sequence[Phase]:
        """Return the warm-up, unless its share is 0, and the phase of the episodes."""
        share = self.settings.warm_up
        warm_up = (Phase(_WARM_UP, share, selects=False),) if share else ()
        return (*warm_up, Phase(_EPISODES, 1 - share))

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Return the network's groups, and ``specific``."""
        return {**super().parameter_groups(), _SPECIFIC: list(self.specific.parameters())}

    def optimizers(self) -> Mapping[str, tuple[str, ...]]:
        """Return one optimiser for the network, and one for the sources' networks."""
        return {_MAIN: ("body", "head"), _SPECIFIC: (_SPECIFIC,)}

    def step(self, batch: DomainBatch, engine: Engine) -> dict[str, Tensor]:
        """Update the sources' own networks, then the main network with their updated weights."""
        specific = self.specific_loss(batch)
        engine.backward(specific, batch, only=(_SPECIFIC,))
        engine.update(_SPECIFIC)
        engine.log("specific", specific)
        terms = self.episodic_terms(batch) if engine.phase == _EPISODES else self.terms(batch)
        engine.backward(torch.stack(list(terms.values())).sum(), batch, only=(_MAIN,))
        engine.update(_MAIN)
        return {name: term.detach() for name, term in terms.items()}

    def specific_loss(self, batch: DomainBatch) -> Tensor:
        """Return the cross entropy with each image's own source's network, averaged over the batch."""
        logits = self._each_by(_mine(batch), batch, lambda network, rows: network.classify(rows))
        return self.classification_loss(logits, labels_of(batch))

    def terms(self, batch: DomainBatch) -> dict[str, Tensor]:
        """Return the loss during the warm-up, the network's own cross entropy."""
        logits = self.network.task(self.boundary_features(batch))
        return {"classification": self.classification_loss(logits, labels_of(batch))}

    def episodic_terms(self, batch: DomainBatch) -> dict[str, Tensor]:
        """Return the weighted terms of the episodes, averaged over the batch."""
        labels, settings = labels_of(batch), self.settings
        on_host, share = self.partners(batch)
        representation = self.network.represent(self.boundary_features(batch))
        with torch.no_grad():
            features = self._each_by(on_host, batch, lambda _network, rows: rows)
        partners, share = moved(on_host, representation.device), moved(share, representation.device)
        heads = [network.network.get_submodule(self.head) for network in self._networks]
        by_wrong = torch.stack([self._classified(representation, head) for head in heads])
        by_wrong = by_wrong[partners, torch.arange(len(partners), device=partners.device)]
        wrong_classifier = self.classification_loss(by_wrong, labels, reduction="none")
        wrong_features = self.classification_loss(self.network.classify(features), labels, reduction="none")
        drawn = self.classification_loss(self._classified(representation, self.random_head), labels)
        return {
            "classification": self.classification_loss(self.network.classify(representation), labels),
            "features": settings.features_weight * (share * wrong_classifier).mean(),
            "classifier": settings.classifier_weight * (share * wrong_features).mean(),
            "random": settings.random_weight * drawn,
        }

    def partners(self, batch: DomainBatch) -> tuple[Tensor, Tensor]:
        """Return each image's partner source, (N,), and whether it has the episodic losses, 1 or 0, (N,); both on the CPU."""
        domains, random, count = _mine(batch), random_of(batch), len(self.context.sources)
        if self.settings.episodes == "one":
            chosen, drawn = random.once("epi_fcr/episode", 2)
            share = (domains == (chosen * count).long()).float()
        else:
            drawn = random.uniform("epi_fcr/partner")
            share = torch.ones_like(drawn)
        return (domains + 1 + (drawn * (count - 1)).long()) % count, share

    @property
    def _networks(self) -> list[RepresentedNetwork]:
        return [network for network in self.specific if isinstance(network, RepresentedNetwork)]

    def _classified(self, representation: Tensor, head: nn.Module) -> Tensor:
        weights = {f"network.{self.head}.{name}": value.detach() for name, value in head.named_parameters()}
        logits: Tensor = call_with(self.network, weights, lambda network: network.classify(representation))
        return logits

    def _each_by(
        self, which: Tensor, batch: DomainBatch, run: Callable[[RepresentedNetwork, Tensor], Tensor]
    ) -> Tensor:
        """Return ``run`` of every image's representation by the network of its source ``which``, in order.

        - ``which``: (N,), on the CPU
        """
        results, order = [], []
        for index, network in enumerate(self._networks):
            mine = torch.nonzero(which == index)[:, 0]
            if count := len(mine):
                rows = moved(mine if self._by_batch else filled_up(mine, batch.device), batch.device)
                inputs = batch.features if batch.features is not None else batch.images
                if inputs is None:
                    raise ValueError("expected a batch with images or features, got neither")
                features = inputs[rows] if batch.features is not None else network.features(inputs[rows])
                results.append(run(network, network.represent(features))[:count])
                order.append(rows[:count])
        return torch.cat(results)[torch.cat(order).argsort()]

    def predict(self, batch: DomainBatch) -> dict[str, Tensor]:
        """Return the network's logits."""
        return {PREDICTIONS: self.network.task(self.boundary_features(batch))}


def filled_up(rows: Tensor, device: torch.device) -> Tensor:
    """Return ``rows`` with its last one repeated up to a multiple of 16, on a GPU; as they are on a CPU.

    A GPU's library chooses and loads kernels for every number of images that it has not seen, which takes seconds for a
    network. The sources' networks run in evaluation mode: what is appended changes no other row, unless batch norm has no
    running statistics.
    """
    missing = 0 if device.type == "cpu" else -len(rows) % _SAME_SIZE
    return torch.cat([rows, rows[-1:].expand(missing)])


def _mine(batch: DomainBatch) -> Tensor:
    """Return the domains of this process's rows, (N,), on the CPU."""
    first = 0 if batch.random is None else batch.random.first
    return batch.host_domains()[first : first + len(batch)]
