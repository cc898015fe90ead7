"""Methods of every kind that the contract allows, for whole runs on generated images; registered by :func:`registered`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from domain_masks.batch import DomainBatch
from domain_masks.methods import METHODS, Aggregate, Phase
from domain_masks.methods.base import Method, domains_of, labels_of


@contextmanager
def registered(*kinds: type[Method]) -> Iterator[None]:
    """Let methods be known by their names for the block."""
    METHODS.update({kind.name: kind for kind in kinds})
    try:
        yield
    finally:
        for kind in kinds:
            METHODS.pop(kind.name, None)


class OwnCrossEntropy(Aggregate):
    """Computes the cross entropy of the classes by itself."""

    name = "own_cross_entropy"

    def training_loss(self, batch: DomainBatch) -> dict[str, Tensor]:
        logits = self.network.task(self.boundary_features(batch))
        return {"classification": functional.cross_entropy(logits, labels_of(batch))}


class OneBranch(Aggregate):
    """Weights the classes of the first source alone."""

    name = "one_branch"

    def training_loss(self, batch: DomainBatch) -> dict[str, Tensor]:
        logits, labels = self.network.task(self.boundary_features(batch)), labels_of(batch)
        first = domains_of(batch) == 0
        own = functional.cross_entropy(logits[~first], labels[~first])
        return {"first": self.classification_loss(logits[first], labels[first]), "others": own}


class SometimesWeighted(Aggregate):
    """Weights the classes in every second step."""

    name = "sometimes_weighted"

    def step(self, batch: DomainBatch, engine: Any) -> dict[str, Tensor]:
        logits, labels = self.network.task(self.boundary_features(batch)), labels_of(batch)
        if engine.global_step % 2 == 0:
            loss = self.classification_loss(logits, labels)
        else:
            loss = -logits.log_softmax(1)[torch.arange(len(labels)), labels].mean()
        engine.backward(loss, batch)
        engine.update()
        return {"classification": loss.detach()}


class WithCritic(Aggregate):
    """A critic with an optimiser of its own tells the domains of the features apart."""

    name = "with_critic"

    def __init__(self, backbone: nn.Module, context: Any, settings: Any) -> None:
        super().__init__(backbone, context, settings)
        self.critic = nn.LazyLinear(len(context.sources))
        self.critic(
            self.network.pooled(self.network.features(torch.zeros(2, 3, context.image_size, context.image_size)))
        )

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        return {**super().parameter_groups(), "critic": list(self.critic.parameters())}

    def optimizers(self) -> dict[str, tuple[str, ...]]:
        return {"classifier": ("body", "head"), "critic": ("critic",)}

    def losses(self, batch: DomainBatch) -> tuple[Tensor, Tensor]:
        features = self.boundary_features(batch)
        told = functional.cross_entropy(self.critic(self.network.pooled(features)), domains_of(batch))
        return told, self.classification_loss(self.network.task(features), labels_of(batch))


class Alternating(WithCritic):
    """Both losses from one forward pass; each gives gradients to its own optimiser."""

    name = "alternating"

    def step(self, batch: DomainBatch, engine: Any) -> dict[str, Tensor]:
        told, classified = self.losses(batch)
        engine.backward(told, batch, only=("critic",), retain=True)
        engine.backward(classified - 0.1 * told, batch, only=("classifier",))
        engine.update()
        engine.log("told", told)
        return {"classification": classified.detach()}


class InTurns(WithCritic):
    """One optimiser in even steps, the other in odd ones."""

    name = "in_turns"

    def step(self, batch: DomainBatch, engine: Any) -> dict[str, Tensor]:
        told, classified = self.losses(batch)
        turn = engine.global_step % 2
        engine.backward((told, classified)[turn], batch)
        engine.update(("critic", "classifier")[turn])
        return {("told", "classification")[turn]: (told, classified)[turn].detach()}


class TwoPhases(Aggregate):
    """Trains, then starts again with new weights; the phase is kept in a buffer, like all state that a resumed run needs."""

    name = "two_phases"
    kinds: ClassVar[Sequence[Phase]] = (Phase("first", 0.5), Phase("second", 0.5, fresh_optimizers=True))
    seen: ClassVar[list[str]] = []

    def __init__(self, backbone: nn.Module, context: Any, settings: Any) -> None:
        super().__init__(backbone, context, settings)
        self.begun_again: Tensor
        self.register_buffer("begun_again", torch.tensor(False))

    def phases(self) -> Sequence[Phase]:
        return self.kinds

    def step(self, batch: DomainBatch, engine: Any) -> dict[str, Tensor]:
        self.seen.append(f"{engine.epoch}:{engine.phase}")
        if engine.phase == "second" and not self.begun_again:
            self.begun_again.fill_(True)
            with torch.no_grad():
                for parameter in self.parameters():
                    parameter.mul_(0.01)
        return super().step(batch, engine)


class NearestMean(Method):
    """Class means of fixed features, fitted in closed form."""

    name = "nearest_mean"
    summary = "nearest class mean"
    paper = Aggregate.paper
    needs = "features"

    def __init__(self, backbone: nn.Module, context: Any, settings: Any) -> None:
        super().__init__(context, settings)
        self.network = Aggregate(backbone, context, settings).network
        size = context.image_size
        width = self.network.frozen_features(torch.zeros(1, 3, size, size)).flatten(1).shape[1]
        self.means: Tensor
        self.register_buffer("means", torch.zeros(len(context.classes), width))

    def fit_closed_form(self, features: DomainBatch) -> None:
        for label in range(len(self.context.classes)):
            self.means[label] = features.features[features.labels == label].flatten(1).mean(0)

    def predict(self, batch: DomainBatch) -> dict[str, Tensor]:
        return {"predictions": -torch.cdist(self.boundary_features(batch).flatten(1), self.means)}


class FeaturesAlone(Aggregate):
    """Trains T by gradient on features; F is never trained."""

    name = "features_alone"
    needs = "features"
    got: ClassVar[list[tuple[bool, bool]]] = []

    def training_loss(self, batch: DomainBatch) -> dict[str, Tensor]:
        self.got.append((batch.images is None, batch.features is not None and batch.features.requires_grad))
        return super().training_loss(batch)


class Remembering(Aggregate):
    """Keeps extra state, a least loss that begins at infinity, and an average of its weights."""

    name = "remembering"

    def __init__(self, backbone: nn.Module, context: Any, settings: Any) -> None:
        super().__init__(backbone, context, settings)
        self.steps = 0
        self.least: Tensor
        self.never: Tensor
        self.register_buffer("least", torch.tensor(float("inf")))
        self.register_buffer("never", torch.full((3,), float("nan")))
        self.average = nn.Linear(2, 2).requires_grad_(False)

    def get_extra_state(self) -> dict[str, Any]:
        return {
            "steps": self.steps,
            "history": [(0, 0.5), (self.steps, float("inf"))],
            "last": torch.arange(self.steps),
        }

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self.steps = state["steps"]
        if len(state["last"]) != self.steps or state["history"][1] != (self.steps, float("inf")):
            raise ValueError("expected what was kept")

    def step(self, batch: DomainBatch, engine: Any) -> dict[str, Tensor]:
        self.steps += 1
        terms = super().step(batch, engine)
        self.least.copy_(torch.minimum(self.least, terms["classification"]))
        engine.log("steps", self.steps)
        return terms


class Split(Aggregate):
    """Body and head have optimisers of their own."""

    name = "split"

    def optimizers(self) -> dict[str, tuple[str, ...]]:
        return {"body": ("body",), "head": ("head",)}
