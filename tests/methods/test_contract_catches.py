"""The contract suite fails where a method is wrong: each mistake here is one that published code has made."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from pydantic.dataclasses import dataclass
from torch import nn

from domain_masks.errors import DivergedError
from domain_masks.methods import METHODS, Aggregate, Settings, Uniform
from domain_masks.methods.base import PREDICTIONS
from methods import contract, contract_runs
from methods.contract import of
from methods.expected import EXPECTED, Expected


class LooksAtDomains(Aggregate):
    """Predicts with what only training knows."""

    def predict(self, batch: Any) -> Any:
        logits = super().predict(batch)[PREDICTIONS]
        return {PREDICTIONS: logits if batch.domains is None else logits + batch.domains[:, None]}


class LooksAtTheBatch(Aggregate):
    """Centres by the test batch's mean."""

    def predict(self, batch: Any) -> Any:
        logits = super().predict(batch)[PREDICTIONS]
        return {PREDICTIONS: logits - logits.mean(0)}


class DrawsForItself(Aggregate):
    """Takes a generator of its own, which no seed reaches."""

    def training_loss(self, batch: Any) -> Any:
        factor = 1 + torch.rand((), generator=torch.Generator().manual_seed(torch.seed() % 2**31))
        return {name: factor * term for name, term in super().training_loss(batch).items()}


class CutsTheGraph(Aggregate):
    """Has a penalty without any gradient."""

    def training_loss(self, batch: Any) -> Any:
        penalty = sum(parameter.detach().abs().sum() for parameter in self.parameters())
        return {**super().training_loss(batch), "penalty": penalty.requires_grad_()}


class WantsAllDomains(Aggregate):
    """Takes a variance over domains, of which a batch may have one."""

    def training_loss(self, batch: Any) -> Any:
        (loss,) = super().training_loss(batch).values()
        means = torch.stack([batch.images[batch.domains == domain].mean() for domain in range(3)])
        return {"classification": loss * (1 + means.var())}


class DrawsOutsideItsSetting(Aggregate):
    """Lets a search draw what its setting refuses."""

    search = {"batch": Uniform(0.5, 2.5)}  # noqa: RUF012


@pytest.mark.parametrize(
    ("kind", "check"),
    [
        (LooksAtDomains, contract.check_predictions),
        (LooksAtTheBatch, contract.check_one_row_at_a_time),
        (DrawsForItself, contract.check_same_randomness),
        (CutsTheGraph, contract.check_terms),
        (WantsAllDomains, contract.check_batches_with_few_rows),
        (DrawsOutsideItsSetting, contract.check_ranges),
    ],
)
def test_a_mistake_in_one_step_is_caught(kind: Any, check: Any) -> None:
    check(of(Aggregate))
    with pytest.raises((AssertionError, DivergedError)):
        check(of(kind))


@dataclass(frozen=True)
class PenaltySettings(Settings):
    """A weight."""

    weight: float = 1.0


class PenaltyOfTheRest(Aggregate):
    """Has a penalty that is meant for the body, and reaches the head alone."""

    name = "penalty_of_the_rest"
    Settings = PenaltySettings

    def training_loss(self, batch: Any) -> Any:
        head = self.network.network.get_submodule("classifier.head")
        penalty = self.settings.weight * sum(parameter.square().sum() for parameter in head.parameters())
        return {**super().training_loss(batch), "penalty": penalty}


class CountsForItself(Aggregate):
    """Counts its steps in an attribute that no checkpoint holds."""

    name = "counts_for_itself"

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.count = 0

    def training_loss(self, batch: Any) -> Any:
        self.count += 1
        return {name: term / self.count for name, term in super().training_loss(batch).items()}


class NeverUpdates(Aggregate):
    """Learns a weight, and its step never updates it."""

    name = "never_updates"

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.weight = nn.Parameter(torch.ones(3))

    def parameter_groups(self) -> Any:
        return {**super().parameter_groups(), "weight": [self.weight]}

    def optimizers(self) -> Any:
        return {"main": ("body", "head"), "weight": ("weight",)}

    def step(self, batch: Any, engine: Any) -> Any:
        (loss,) = self.training_loss(batch).values()
        engine.backward(loss * self.weight[batch.domains].mean(), batch)
        engine.update("main")
        return {"classification": loss.detach()}


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for kind in (PenaltyOfTheRest, CountsForItself, NeverUpdates):
        monkeypatch.setitem(METHODS, kind.name, kind)
        monkeypatch.setitem(EXPECTED, kind.name, Expected(run={"epochs": 2}, accuracy=0.0))
    yield
    contract_runs.whole.cache_clear()


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize(
    ("kind", "check"),
    [
        (CountsForItself, contract_runs.check_resuming),
        (NeverUpdates, contract_runs.check_everything_learns),
    ],
)
def test_a_mistake_in_a_run_is_caught(kind: Any, check: Any) -> None:
    with pytest.raises(AssertionError):
        check(kind.name)


@pytest.mark.usefixtures("registered")
def test_a_penalty_that_does_not_reach_what_it_is_meant_for_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    method = contract.built(PenaltyOfTheRest.name)
    monkeypatch.setitem(EXPECTED, method.name, Expected(penalties={"weight": ("network.network.classifier.head",)}))
    contract.check_penalties(method)
    monkeypatch.setitem(EXPECTED, method.name, Expected(penalties={"weight": ("network.network.features",)}))
    with pytest.raises(AssertionError):
        contract.check_penalties(method)
