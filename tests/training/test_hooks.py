"""When a method is told that something begins, ends or has changed; and optimisers of several kinds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.precision import MixedPrecision
from safetensors.torch import load_file
from torch import Tensor, nn

import generated
from domain_masks.errors import InputError
from domain_masks.methods import Aggregate, Optimizer, Phase
from domain_masks.records.metrics_log import MetricsLog
from domain_masks.training import run
from domain_masks.training.defaults import resolve
from domain_masks.training.engine import TrainingEngine
from domain_masks.training.launching import launch
from domain_masks.training.timing import measure
from methods.contract import of, toy_batch
from training import other_methods
from training.other_methods import WithCritic


class Quiet:
    def say(self, line: str) -> None:
        pass

    def track(self, items: Iterable[Any], _total: int, _what: str) -> Iterator[Any]:
        yield from items


class Told(Aggregate):
    """Writes down what it is told, moves its weights with everything, and counts in a buffer."""

    name = "told"
    calls: ClassVar[list[str]] = []

    def __init__(self, backbone: nn.Module, context: Any, settings: Any) -> None:
        super().__init__(backbone, context, settings)
        self.count: Tensor
        self.register_buffer("count", torch.zeros(4))

    def phases(self) -> Sequence[Phase]:
        return Phase("first", 0.4), Phase("second", 0.6, fresh_optimizers=True)

    def note(self, kind: int, line: str) -> None:
        self.calls.append(line)
        self.count[kind] += 1
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.add_(1e-4 * torch.randn_like(parameter) if kind < 3 else 1e-5)

    def begin_phase(self, name: str) -> None:
        self.note(0, f"phase {name}")

    def begin_epoch(self, engine: Any) -> None:
        self.note(1, f"begin {engine.epoch} {engine.phase} {engine.epochs} {engine.steps_per_epoch} {engine.steps}")

    def end_epoch(self, engine: Any) -> None:
        self.note(2, f"end {engine.epoch} {engine.global_step}")

    def after_update(self, engine: Any) -> None:
        self.note(3, f"update {engine.global_step}")


@pytest.fixture
def told() -> Iterator[list[str]]:
    Told.calls.clear()
    with other_methods.registered(Told):
        yield Told.calls


DATA = generated.dataset(8)
SETTINGS = {"method": "told", "epochs": 3, "batch": 10, "accumulate": 2, "optimizer": "sgd", "lr": 0.02}
EXPECTED = [
    *("phase first", "begin 0 first 3 4 12", "update 1", "update 3", "end 0 3"),
    *("phase second", "begin 1 second 3 4 12", "update 5", "update 7", "end 1 7"),
    *("begin 2 second 3 4 12", "update 9", "update 11", "end 2 11"),
]


def test_a_method_is_told_of_everything_once_and_in_order(told: list[str], tmp_path: Path) -> None:
    run(generated.config(**SETTINGS), tmp_path / "run", dataset=DATA, reporter=Quiet())
    assert told == EXPECTED


@pytest.mark.parametrize("stop", range(1, 10, 2))
def test_a_run_that_goes_on_tells_what_was_not_told(
    told: list[str], stop: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped between two batches, during validation, and where a phase ends."""
    from domain_masks.training.epoch_loop import EpochLoop  # noqa: PLC0415

    settings = generated.config(**SETTINGS, checkpoint_every=1e-9)
    whole = run(settings, tmp_path / "whole", dataset=DATA, reporter=Quiet())
    told.clear()
    checkpoint_if_due, left = EpochLoop.checkpoint_if_due, [stop]

    def interrupt(loop: EpochLoop, progress: Any, *arguments: Any, **options: Any) -> None:
        checkpoint_if_due(loop, progress, *arguments, **options)
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(EpochLoop, "checkpoint_if_due", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run(settings, tmp_path / "run", dataset=DATA, reporter=Quiet())
    assert told == EXPECTED[: len(told)]
    resumed = run(settings, tmp_path / "run", resume=True, dataset=DATA, reporter=Quiet())
    assert told == EXPECTED
    assert resumed.folder.model.read_bytes() == whole.folder.model.read_bytes()


def test_a_last_group_of_fewer_batches_is_an_update_too(told: list[str]) -> None:
    config = generated.config(accumulate=3)
    method = of(Told).train()
    engine = TrainingEngine(launch(config), method, config, epochs=2, steps_per_epoch=4)
    for index in range(4):
        engine.begin(0, index)
        if index < 2:
            method.step(toy_batch(seed=index), engine)
    engine.finish_epoch()
    assert told[1:] == ["begin 0 first 2 4 8", "update 3", "end 0 3"]


def test_a_step_that_a_scaler_leaves_out_is_no_update(told: list[str]) -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0, growth_interval=1)
    fabric = Fabric(accelerator="cpu", devices=1, plugins=[MixedPrecision("16-mixed", "cpu", scaler)])
    fabric.launch()
    config = generated.config(precision="16", device="auto", optimizer="sgd", lr=0.1)
    method = of(Told).train()
    engine = TrainingEngine(fabric, method, config, epochs=2, steps_per_epoch=4)
    for index, size in enumerate((1.0, float("inf"), 1.0)):
        engine.begin(0, index)
        loss = method.training_loss(toy_batch())["classification"]
        engine.backward(loss, toy_batch())
        for parameter in method.parameters():
            parameter.grad.mul_(size)
        engine.update()
    assert [line for line in told if line.startswith("update")] == ["update 0", "update 2"]


def test_an_update_of_nothing_is_none(told: list[str]) -> None:
    config = generated.config()
    engine = TrainingEngine(launch(config), of(Told), config, epochs=2, steps_per_epoch=4)
    engine.begin(0, 0)
    engine.update()
    assert told == ["phase first", "begin 0 first 2 4 8"]


class Mixed(WithCritic):
    """A classifier by SGD, a critic by Adam at a rate of its own."""

    name = "mixed"

    def optimizers(self) -> dict[str, Any]:
        return {
            "classifier": Optimizer(("body", "head"), kind="sgd", momentum=0.5, weight_decay=0.01),
            "critic": Optimizer(("critic",), kind="adam", lr=1e-3),
        }

    def step(self, batch: Any, engine: Any) -> dict[str, Any]:
        told, classified = self.losses(batch)
        engine.backward(told, batch, only=("critic",), retain=True)
        engine.backward(classified - 0.1 * told, batch, only=("classifier",))
        engine.update()
        engine.log("critic_rate", engine.rate("critic"))
        return {"classification": classified.detach()}


def test_optimisers_have_kinds_and_rates_of_their_own() -> None:
    config = generated.config(lr=0.05, lr_head=0.5, weight_decay=0.002, schedule="exponential")
    method = of(Mixed).train()
    engine = TrainingEngine(launch(config), method, config, epochs=4, steps_per_epoch=2)
    engine.begin(2, 1)
    classifier, critic = (engine.optimizers[name].optimizer for name in ("classifier", "critic"))
    assert isinstance(classifier, torch.optim.SGD)
    assert isinstance(critic, torch.optim.Adam)
    (body, head), (own,) = classifier.param_groups, critic.param_groups
    assert (body["momentum"], body["weight_decay"], own["weight_decay"]) == (0.5, 0.01, 0.002)
    decay = 0.99**2
    assert (body["lr"], head["lr"], own["lr"]) == pytest.approx((0.05 * decay, 0.5 * decay, 1e-3 * decay))
    for group, rate in (("body", 0.05), ("head", 0.5), ("critic", 1e-3)):
        assert engine.rate(group) == engine.rates[group] == pytest.approx(rate * decay)
    with pytest.raises(InputError, match=r"unknown parameter group 'crtic'.* Did you mean 'critic'"):
        engine.rate("crtic")


def test_runs_of_several_kinds_go_on_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from domain_masks.training.epoch_loop import EpochLoop  # noqa: PLC0415

    settings = generated.config(method="mixed", epochs=2, batch=10, accumulate=2, lr=0.02, checkpoint_every=1e-9)
    with other_methods.registered(Mixed):
        whole = run(settings, tmp_path / "whole", dataset=DATA, reporter=Quiet())
        checkpoint_if_due, left = EpochLoop.checkpoint_if_due, [2]

        def interrupt(loop: EpochLoop, progress: Any, *arguments: Any, **options: Any) -> None:
            checkpoint_if_due(loop, progress, *arguments, **options)
            left[0] -= 1
            if left[0] == 0:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(EpochLoop, "checkpoint_if_due", interrupt)
            with pytest.raises(KeyboardInterrupt):
                run(settings, tmp_path / "run", dataset=DATA, reporter=Quiet())
        resumed = run(settings, tmp_path / "run", resume=True, dataset=DATA, reporter=Quiet())
    one, two = (load_file(done.folder.model) for done in (whole, resumed))
    assert all(torch.equal(value, two[name]) for name, value in one.items())
    for done in (whole, resumed):
        for row in MetricsLog(done.folder.metrics).read():
            assert (row["lr/body"], row["lr/head"], row["lr/critic"]) == (0.02, 0.02, 1e-3)
            assert row["log/critic_rate"] == pytest.approx(1e-3)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "lion"}, "kind of an optimiser to be adam, adamw or sgd, got 'lion'"),
        ({"lr": 0.0}, "learning rate of an optimiser to be above 0, got 0.0"),
        ({"lr": float("nan")}, "learning rate of an optimiser to be above 0, got nan"),
        ({"kind": "adam", "momentum": 0.9}, "no momentum for adam"),
        ({"momentum": 1.0}, r"momentum of an optimiser to be in \[0, 1\), got 1.0"),
        ({"weight_decay": -1e-3}, "weight decay of an optimiser to be 0 or more, got -0.001"),
        ({"lr": -1, "weight_decay": -1}, r"(?s)learning rate .* got -1.*weight decay .* got -1"),
    ],
)
def test_an_optimiser_that_cannot_be_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Optimizer(("body",), **values)


def test_what_optimisers_remember_is_measured_and_not_guessed() -> None:
    config = generated.config(method="mixed", optimizer="adam")
    with other_methods.registered(Mixed):
        cost = measure(resolve(config, DATA), DATA, Quiet())  # type: ignore[arg-type]
        method = of(Mixed)
    sizes = {group: sum(value.numel() for value in values) for group, values in method.parameter_groups().items()}
    # Momentum of SGD, two averages and a count for each parameter of Adam; the critic tells two sources here.
    critic = sizes["critic"] * 2 // 3
    expected = 4 * (sizes["body"] + sizes["head"] * 3 // 4 + 2 * critic + len(method.parameter_groups()["critic"]))
    assert cost.optimizer == expected
