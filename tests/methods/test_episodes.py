"""MLDG, MAML and MASF: their objectives and gradients against obvious re-statements, and what they refuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from domain_masks.batch import DomainBatch
from domain_masks.errors import DivergedError, InputError
from domain_masks.methods import METHODS, Context
from domain_masks.methods.build import build_method
from domain_masks.methods.episodes import Episodic, Part
from domain_masks.methods.settings import method_settings
from domain_masks.randomness import BatchRandomness
from references import meta_learning as reference

SOURCES, CLASSES, SIZE, HIDDEN = ("art", "cartoon", "photo"), ("dog", "horse"), 2, 4


class TwoLayers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(3 * SIZE * SIZE, HIDDEN)
        self.fc = nn.Linear(HIDDEN, len(CLASSES))

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(torch.tanh(self.hidden(images.flatten(1))))


def method_of(name: str, **settings: Any) -> Any:
    torch.manual_seed(0)
    context = Context(SOURCES, CLASSES, image_size=SIZE)
    return build_method(name, TwoLayers(), context, method_settings(name, settings), 0).double().train()


def batch_of(step: int = 0, rows: int = 18) -> DomainBatch:
    source = torch.Generator().manual_seed(step)
    images = torch.randn(rows, 3, SIZE, SIZE, generator=source, dtype=torch.float64)
    labels = torch.arange(rows) // 3 % len(CLASSES)
    random = BatchRandomness(7, step, 0, rows, rows)
    return DomainBatch(images, labels, torch.arange(rows) % 3, torch.arange(rows), random=random)


def rows_of(batch: DomainBatch, *domains: int) -> list[reference.Rows]:
    return [(batch.images.flatten(1)[batch.domains == d], batch.labels[batch.domains == d]) for d in domains]


def weights_of(method: Episodic) -> list[Tensor]:
    return [value.detach() for value in method.network.network.parameters()]


def gradients(method: Episodic, train: tuple[int, ...], test: tuple[int, ...]) -> tuple[Tensor, list[Tensor]]:
    batch = batch_of()
    loss = torch.stack(list(method.losses(Part(batch, train), Part(batch, test)).values())).sum()
    return loss, list(torch.autograd.grad(loss, list(method.network.network.parameters())))


def assert_close(found: list[Tensor], expected: list[Tensor], tolerance: float) -> None:
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=tolerance, rtol=0)


@pytest.mark.parametrize(("rate", "beta"), [(0.5, 1.0), (2.0, 0.3), (0.1, 0.0)])
def test_mldg_is_the_papers_objective_and_its_gradient_goes_through_the_step(rate: float, beta: float) -> None:
    method = method_of("mldg", inner_lr=rate, beta=beta)
    train, test = rows_of(batch_of(), 0, 2), rows_of(batch_of(), 1)
    objective: Callable[[Any], Tensor] = lambda weights: reference.mldg(weights, train, test, rate, beta)  # noqa: E731
    loss, found = gradients(method, (0, 2), (1,))
    assert loss.item() == pytest.approx(float(objective(weights_of(method))), abs=1e-12)
    assert_close(found, reference.by_differences(objective, weights_of(method)), 1e-8)


@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_first_order_takes_the_step_as_a_constant(kind: str) -> None:
    method = method_of("mldg", inner_lr=0.5, beta=0.7, order="first", inner_step=kind, meta_test_domains=2)
    train, test = rows_of(batch_of(), 1), rows_of(batch_of(), 0, 2)
    expected = reference.mldg_first_order(weights_of(method), train, test, 0.5, 0.7, kind)
    assert_close(gradients(method, (1,), (0, 2))[1], expected, 1e-12)
    second = gradients(method_of("mldg", inner_lr=0.5, beta=0.7), (1,), (0, 2))[1]
    assert max(float((one - other).abs().max()) for one, other in zip(second, expected, strict=True)) > 1e-3


@pytest.mark.parametrize("steps", [1, 3])
def test_maml_is_the_risk_after_the_steps(steps: int) -> None:
    method = method_of("maml", inner_lr=0.8, inner_steps=steps)
    train, test = rows_of(batch_of(), 0, 2), rows_of(batch_of(), 1)
    objective: Callable[[Any], Tensor] = lambda weights: reference.maml(weights, train, test, 0.8, steps)  # noqa: E731
    loss, found = gradients(method, (0, 2), (1,))
    assert loss.item() == pytest.approx(float(objective(weights_of(method))), abs=1e-12)
    assert_close(found, reference.by_differences(objective, weights_of(method)), 1e-8)


@pytest.mark.parametrize("held_out", [1, 2])
def test_each_step_holds_other_sources_out(held_out: int) -> None:
    method = method_of("mldg", meta_test_domains=held_out)
    seen = []

    def losses(train: Part, test: Part) -> dict[str, Tensor]:
        seen.append((train.domains, test.domains))
        return {"one": method.network.network.fc.bias.sum()}

    method.losses = losses
    engine = type("Engine", (), {"backward": lambda *_: None, "update": lambda *_: None})()
    for step in range(60):
        method.step(batch_of(step), engine)
    assert all(len(test) == held_out and sorted(train + test) == [0, 1, 2] for train, test in seen)
    assert {test for _, test in seen} == ({(0,), (1,), (2,)} if held_out == 1 else {(0, 1), (0, 2), (1, 2)})
    assert min(sum(domain in test for _, test in seen) for domain in range(3)) >= 8 * held_out


@pytest.mark.parametrize("name", ["mldg", "maml"])
def test_frozen_features_step_the_task_network_alone(name: str) -> None:
    method = method_of(name)
    method.network.freeze_features()
    assert set(method.weights()) == {"network.fc.weight", "network.fc.bias"}


@pytest.mark.parametrize("name", ["mldg", "maml"])
@pytest.mark.parametrize("rate", [1e9, 1e308])
def test_an_inner_rate_that_diverges_is_named(name: str, rate: float) -> None:
    method = method_of(name, inner_lr=rate, **({"clip": None} if name == "masf" else {}))
    with pytest.raises(
        DivergedError, match=r"^method\.inner_lr: after a step at the inner rate .* the loss is .* Use a lower"
    ):
        gradients(method, (0, 2), (1,))


@pytest.mark.parametrize("name", ["mldg", "maml"])
@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"inner_lr": -0.1}, r"method\.inner_lr: input should be greater than 0, got -0.1"),
        ({"inner_lr": 0}, r"method\.inner_lr: input should be greater than 0, got 0"),
        ({"order": "third"}, r"method\.order: input should be 'second' or 'first', got 'third'"),
        ({"meta_test_domains": 0}, r"method\.meta_test_domains: input should be greater than or equal to 1, got 0"),
        ({"meta_test_domains": 3}, r"method\.meta_test_domains: expected fewer than the 3 sources .*, got 3"),
    ],
)
def test_settings_that_cannot_be_are_told(name: str, settings: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        method_of(name, **settings)


def test_a_negative_beta_is_told() -> None:
    with pytest.raises(InputError, match=r"method\.beta: input should be greater than or equal to 0, got -1"):
        method_of("mldg", beta=-1)


@pytest.mark.parametrize("name", ["mldg", "maml"])
def test_attention_can_be_differentiated_twice(name: str) -> None:
    from torchvision.models import VisionTransformer  # noqa: PLC0415

    torch.manual_seed(0)
    backbone = VisionTransformer(16, 8, 1, 2, 16, 16, num_classes=2)
    method: Any = METHODS[name](backbone, Context(SOURCES, CLASSES, image_size=16), method_settings(name, {})).train()
    images = torch.randn(12, 3, 16, 16)
    batch = DomainBatch(images, torch.arange(12) % 2, torch.arange(12) % 3, torch.arange(12))
    loss = torch.stack(list(method.losses(Part(batch, (0, 1)), Part(batch, (2,))).values())).sum()
    loss.backward()
    assert all(value.grad is not None for value in method.network.parameters())
