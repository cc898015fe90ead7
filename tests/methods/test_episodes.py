"""MLDG, MAML and MASF: their objectives and gradients against obvious re-statements, and what they refuse."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from domain_masks.batch import DomainBatch
from domain_masks.errors import DivergedError, InputError
from domain_masks.methods import METHODS, Context, episodes
from domain_masks.methods.algorithms.masf import class_means, semi_hard_triplets, soft_label_divergence
from domain_masks.methods.episodes import Episodic, Part
from domain_masks.methods.method_builder import build_method
from domain_masks.methods.settings import method_settings
from domain_masks.networks import build_backbone
from domain_masks.randomness import BatchRandomness
from domain_masks.records.config import RunConfig
from domain_masks.training.engine import TrainingEngine
from domain_masks.training.launching import launch
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


@pytest.mark.parametrize("name", ["mldg", "maml", "masf"])
def test_frozen_features_step_the_task_network_alone(name: str) -> None:
    method = method_of(name)
    method.network.freeze_features()
    # Of a batch of features, that of images being what F makes of them.
    assert set(method.weights()) == {"network.fc.weight", "network.fc.bias"}


@pytest.mark.parametrize("name", ["mldg", "maml", "masf"])
@pytest.mark.parametrize("rate", [1e9, 1e308])
def test_an_inner_rate_that_diverges_is_named(name: str, rate: float) -> None:
    method = method_of(name, inner_lr=rate, **({"clip": None} if name == "masf" else {}))
    with pytest.raises(
        DivergedError, match=r"^method\.inner_lr: after a step at the inner rate .* the loss is .* Use a lower"
    ):
        gradients(method, (0, 2), (1,))


@pytest.mark.parametrize("name", ["mldg", "maml", "masf"])
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


@pytest.mark.parametrize("processes", [1, 2])
def test_batch_norm_of_several_processes_is_left_to_them(processes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(episodes, "process_count", lambda: processes)
    seen = []

    class Seen(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            seen.append(func)
            return func(*args, **(kwargs or {}))

    layer = nn.Sequential(nn.Conv2d(4, 4, 1, groups=2), nn.BatchNorm2d(4))
    with Seen(), episodes.passing(Part(batch_of(), (0, 1))):
        layer(torch.randn(3, 4, 2, 2))
    assert (nn.functional.batch_norm in seen) == (processes > 1)


@pytest.mark.parametrize("order", ["first", "second"])
@pytest.mark.parametrize("name", ["mldg", "masf", "maml"])
def test_only_what_is_differentiated_twice_has_other_derivatives(
    name: str, order: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered = []
    monkeypatch.setattr(episodes, "FastSecondDerivatives", lambda statistics: nullcontext(entered.append(statistics)))
    gradients(method_of(name, order=order), (0, 2), (1,))
    assert bool(entered) == (order == "second")


@pytest.mark.parametrize("name", ["mldg", "masf", "metareg"])
def test_fast_second_derivatives_are_pytorchs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = replace(batch_of(), images=torch.randn(18, 3, 32, 32, generator=torch.Generator().manual_seed(0)).double())
    found = []
    for fast in (True, False):
        if not fast:
            monkeypatch.setattr(episodes, "FastSecondDerivatives", lambda statistics: nullcontext())
        torch.manual_seed(0)
        backbone = build_backbone("mobilenet_v2", len(CLASSES))
        context = Context(SOURCES, CLASSES, image_size=32, boundary="features.17")
        method = build_method(name, backbone, context, method_settings(name, {}), 0).double().train()
        if name == "metareg":
            wanted, loss = list(method.phi), method.meta_loss(batch, 0, 1)
        else:
            losses = method.losses(Part(batch, (0, 2)), Part(batch, (1,)))
            wanted, loss = list(method.network.network.parameters()), torch.stack(list(losses.values())).sum()
        found.append([value.double() for value in torch.autograd.grad(loss, wanted)])
    assert_close(*found, 1e-9)


@pytest.mark.parametrize("name", ["mldg", "maml", "masf"])
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


def masf_objective(method: Any, clip: float | None, rate: float) -> Callable[[Any], Tensor]:
    batch, metric = batch_of(), [value.detach() for value in method.metric.parameters()]

    def embedded(hidden: Tensor) -> Tensor:
        inside = nn.functional.leaky_relu(hidden @ metric[0].T + metric[1], 0.2)
        return nn.functional.leaky_relu(inside @ metric[2].T + metric[3], 0.2)

    def objective(weights: Any) -> Tensor:
        train = rows_of(batch, 0, 2)
        slopes = reference.gradient_of(lambda given: reference.risk(given, train), weights)
        if clip is not None:
            slopes = [value * min(1.0, clip / float(value.norm())) for value in slopes]
        ahead = [value - rate * slope for value, slope in zip(weights, slopes, strict=True)]
        logits = reference.logits_of(ahead, batch.images.flatten(1))
        parts = [(logits[batch.domains == d], batch.labels[batch.domains == d]) for d in range(3)]
        aligned = sum(reference.masf_global(parts[one], parts[1], len(CLASSES), 1.5) for one in (0, 2)) / 2
        local = reference.semi_hard_triplets(
            embedded(reference.hidden_of(ahead, batch.images.flatten(1))), batch.labels, 0.2
        )
        return reference.risk(weights, train) + 0.8 * aligned + 0.3 * local

    return objective


@pytest.mark.parametrize("clip", [None, 0.05])
def test_masf_is_the_papers_objective_and_its_gradient_goes_through_the_step(clip: float | None) -> None:
    settings = {"inner_lr": 0.5, "clip": clip, "global_weight": 0.8, "local_weight": 0.3}
    method = method_of("masf", **settings, temperature=1.5, margin=0.2)
    objective = masf_objective(method, clip, 0.5)
    loss, found = gradients(method, (0, 2), (1,))
    assert loss.item() == pytest.approx(objective(weights_of(method)).item(), abs=1e-10)
    # In smaller steps than elsewhere: the triplets and the embedding have kinks.
    assert_close(found, reference.by_differences(objective, weights_of(method), 1e-6), 1e-8)


def test_each_penalty_of_masf_reaches_what_it_is_meant_for() -> None:
    method, batch = method_of("masf"), batch_of()
    terms = method.losses(Part(batch, (0, 2)), Part(batch, (1,)))
    own = dict(method.named_parameters())
    reached = {}
    for name, term in terms.items():
        slopes = torch.autograd.grad(term, list(own.values()), retain_graph=True, allow_unused=True)
        reached[name] = {key for key, slope in zip(own, slopes, strict=True) if slope is not None and slope.any()}
    network, metric = ({name for name in own if name.startswith(part)} for part in ("network.", "metric."))
    assert reached["task"] == reached["global"] == network
    # The last layer is behind what is embedded; through the inner step, it matters for it.
    assert reached["local"] == network | metric
    assert "network.network.hidden.weight" in reached["local"]


def test_a_class_that_a_source_lacks_is_not_aligned() -> None:
    one, other = torch.randn(2, 3, dtype=torch.float64), torch.randn(4, 3, dtype=torch.float64)
    labels = torch.tensor([0, 2]), torch.tensor([0, 1, 1, 2])
    expected = reference.masf_global((one, labels[0]), (other, labels[1]), 3, 2.0)
    batch = DomainBatch(
        torch.zeros(6, 1), torch.cat(labels), torch.tensor([0, 0, 1, 1, 1, 1]), torch.arange(6), random=None
    )
    means = class_means(torch.cat([one, other]) / 2.0, Part(batch, (0, 1)), 3)
    torch.testing.assert_close(soft_label_divergence(means[0], means[1]), expected)
    assert expected > 0


@pytest.mark.parametrize("labels", [[0, 0, 1, 1, 2, 2, 2], [0, 1, 2, 3, 4, 5, 6], [0] * 7, [0, 0, 0, 0, 0, 0, 1]])
@pytest.mark.parametrize("margin", [0.1, 10.0])
def test_triplets_are_semi_hard(labels: list[int], margin: float) -> None:
    torch.manual_seed(1)
    embedded, twin = (torch.randn(7, 3, dtype=torch.float64) for _ in range(2))
    twin = embedded.clone().requires_grad_()
    embedded.requires_grad_()
    found = semi_hard_triplets(embedded, torch.tensor(labels), margin)
    expected = reference.semi_hard_triplets(twin, torch.tensor(labels), margin)
    torch.testing.assert_close(found, expected)
    found.backward()
    if expected.requires_grad:
        expected.backward()
        torch.testing.assert_close(embedded.grad, twin.grad)
    assert torch.isfinite(embedded.grad).all()


def test_a_negative_as_far_away_as_the_positive_is_not_semi_hard() -> None:
    on_a_line, labels = torch.tensor([[0.0], [1.0], [-1.0], [3.0]]), torch.tensor([0, 0, 1, 1])
    # Of the image at 0 the one at -1 is as far as its pair at 1: the negative is the one at 3.
    expected = reference.semi_hard_triplets(on_a_line, labels, 9.0)
    assert semi_hard_triplets(on_a_line, labels, 9.0).item() == expected.item() == pytest.approx((1 + 6 + 21 + 16) / 4)


@pytest.mark.parametrize("steps", [1, 3])
def test_metareg_learns_its_regulariser_by_what_it_does_to_another_source(steps: int) -> None:
    method, batch = method_of("metareg", inner_lr=0.7, inner_steps=steps, initial=0.05), batch_of()
    assert method.regularised == ["network.fc.weight", "network.fc.bias"]
    hidden = reference.hidden_of(weights_of(method), batch.images.flatten(1))
    rows = [(hidden[batch.domains == d], batch.labels[batch.domains == d]) for d in (2, 0)]
    task = [value.detach() for value in method.tasks[2].parameters()]

    def objective(phi: Any) -> Tensor:
        return reference.metareg(phi, task, rows[0], rows[1], 0.7, steps)

    loss = method.meta_loss(batch, 2, 0)
    assert loss.item() == pytest.approx(objective(method.phi).item(), abs=1e-12)
    found = torch.autograd.grad(loss, list(method.phi))
    assert all(slope.any() for slope in found)
    assert_close(list(found), reference.by_differences(objective, list(method.phi)), 1e-8)


def test_metareg_fixes_its_regulariser_and_adds_it() -> None:
    method = method_of("metareg", initial=0.3)
    own = {name: value.detach() for name, value in method.network.named_parameters()}
    expected = 0.3 * sum(own[f"network.fc.{name}"].abs().sum() for name in ("weight", "bias"))
    torch.testing.assert_close(method.regulariser(own), expected)
    with torch.no_grad():
        method.phi[1].fill_(-1.0)
    torch.testing.assert_close(
        method.regulariser(own), 0.3 * own["network.fc.weight"].abs().sum() - own["network.fc.bias"].abs().sum()
    )
    config = RunConfig(optimizer="sgd", lr=0.1, momentum=0.0)
    engine = TrainingEngine(launch(config), method, config, epochs=2, steps_per_epoch=2)
    moved = []
    for step in range(4):
        before = {name: value.detach().clone() for name, value in method.named_parameters()}
        engine.begin(*divmod(step, 2))
        terms = method.step(batch_of(step), engine)
        moved.append(
            {name.split(".")[0] for name, value in method.named_parameters() if not torch.equal(value, before[name])}
        )
        if step < 2:
            assert all(torch.equal(before[f"network.{name}"], own[name]) for name in method.regularised)
    assert moved == [{"network", "phi", "tasks"}] * 2 + [{"network"}] * 2
    assert set(terms) == {"classification", "regularisation"}


@pytest.mark.parametrize("nonnegative", [True, False])
def test_metareg_bounds_its_penalty_from_below(nonnegative: bool) -> None:
    method = method_of("metareg", nonnegative=nonnegative, meta_lr=0.1)
    config = RunConfig(optimizer="sgd", lr=0.1)
    engine = TrainingEngine(launch(config), method, config, epochs=2, steps_per_epoch=3)
    for step in range(3):
        engine.begin(*divmod(step, 3))
        method.step(batch_of(step), engine)
    learned = torch.cat([phi.detach().flatten() for phi in method.phi])
    assert (learned > 0).any()
    assert (learned < 0).any().item() is not nonnegative


def test_metareg_refuses_a_negative_initial_weight_that_it_would_set_to_zero() -> None:
    with pytest.raises(
        InputError, match=r"^method\.initial: expected 0 or more, got -0\.1; .* --method\.nonnegative false"
    ):
        method_of("metareg", initial=-0.1)
    assert all((phi < 0).all() for phi in method_of("metareg", initial=-0.1, nonnegative=False).phi)


def test_metareg_names_an_inner_rate_that_diverges() -> None:
    with pytest.raises(DivergedError, match=r"^method\.inner_lr: after a step at the inner rate 1e\+09 the loss is"):
        method_of("metareg", inner_lr=1e9).meta_loss(batch_of(), 0, 1)


@pytest.mark.parametrize("name", ["mldg", "maml", "masf", "metareg"])
def test_batch_norm_over_several_gpus_is_not_differentiated_twice(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    method = METHODS[name](
        build_backbone("small", 2), Context(SOURCES, CLASSES, image_size=16), method_settings(name, {})
    )
    method.network.network = nn.SyncBatchNorm.convert_sync_batchnorm(method.network.network)
    monkeypatch.setattr(episodes, "process_count", lambda: 2)
    config = RunConfig(lr=0.1)
    engine = TrainingEngine(launch(config), method, config, epochs=2, steps_per_epoch=1)
    engine.begin(0, 0)
    with pytest.raises(InputError, match=f"^devices: method '{name}' differentiates through inner steps"):
        method.step(batch_of(), engine)
