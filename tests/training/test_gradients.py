"""Which gradients an optimiser learns from: those of its own loss, over all rows of a group, and nothing left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import generated
from domain_masks.batch import DomainBatch
from domain_masks.errors import InputError
from domain_masks.methods import Aggregate
from domain_masks.records.metrics_log import MetricsLog
from domain_masks.training import run
from domain_masks.training.engine import TrainingEngine
from domain_masks.training.launching import launch
from domain_masks.training.optimizers import trained_groups
from methods.contract import of, toy_batch
from training import other_methods
from training.other_methods import Alternating, InTurns, Split, WithCritic


class Quiet:
    """Says nothing; ends the run at a step, as a signal would, where it is told to."""

    def say(self, line: str) -> None:
        pass

    def track(self, items: Iterable[Any], _total: int, _what: str) -> Iterator[Any]:
        yield from items


def engine_of(method: Any, steps: int = 1, epochs: int = 1, **settings: Any) -> TrainingEngine:
    config = generated.config(optimizer="sgd", lr=0.1, momentum=0.0, **settings)
    return TrainingEngine(launch(config), method.train(), config, epochs=epochs, steps_per_epoch=steps)


def rows(batch: DomainBatch, start: int, stop: int) -> DomainBatch:
    part = slice(start, stop)
    parts = {name: getattr(batch, name)[part] for name in ("images", "labels", "domains", "ids")}
    return replace(batch, **parts, random=None)


def parameters(method: nn.Module, prefix: str = "") -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in method.named_parameters() if name.startswith(prefix)}


def loss_of(method: Any, batch: DomainBatch) -> torch.Tensor:
    return method.training_loss(batch)["classification"]


def test_what_an_optimiser_was_not_updated_with_is_gone_with_the_step() -> None:
    twin, method = of(Split).eval(), of(Split).eval()
    engine, other = engine_of(method, steps=4), engine_of(twin, steps=4)
    method.eval(), twin.eval()
    for index in range(3):
        engine.begin(0, index)
        engine.backward(loss_of(method, toy_batch(seed=index)), toy_batch(seed=index))
        engine.update("head")
    twin.load_state_dict(method.state_dict())
    for learner, learns in ((engine, method), (other, twin)):
        learner.begin(0, 3)
        learner.backward(loss_of(learns, toy_batch(seed=9)), toy_batch(seed=9))
        learner.update()
    for name, value in method.state_dict().items():
        assert torch.equal(value, twin.state_dict()[name]), name
    assert all(parameter.grad is None for parameter in method.parameters())


def test_only_leaves_the_gradients_of_others_as_they_are() -> None:
    method = of(Split).eval()
    engine, batch = engine_of(method), toy_batch()
    method.eval()
    engine.begin(0, 0)
    engine.backward(loss_of(method, batch), batch, only=("head",))
    groups = method.parameter_groups()
    assert all(parameter.grad is None for parameter in groups["body"])
    assert all(parameter.grad is not None for parameter in groups["head"])
    engine.backward(loss_of(method, batch), batch, only="body")
    assert all(parameter.grad is not None for parameter in groups["body"])


def test_one_pass_can_be_used_twice() -> None:
    method = of(Split).eval()
    engine, batch = engine_of(method), toy_batch()
    loss = loss_of(method, batch)
    engine.begin(0, 0)
    engine.backward(loss, batch, only=("head",), retain=True)
    once = [parameter.grad.clone() for parameter in method.parameter_groups()["head"]]
    engine.backward(loss, batch)
    for parameter, value in zip(method.parameter_groups()["head"], once, strict=True):
        torch.testing.assert_close(parameter.grad, 2 * value)


def test_optimisers_that_there_are_not_are_named() -> None:
    engine = engine_of(of(Split))
    engine.begin(0, 0)
    loss = loss_of(engine.method, toy_batch())
    with pytest.raises(InputError, match=r"unknown optimiser 'haed': .* Did you mean 'head'"):
        engine.backward(loss, toy_batch(), only=("haed",))


@pytest.mark.parametrize(
    ("cuts", "accumulate"),
    [
        ([0, 24], 3),  # a group of one batch, where three were asked for
        ([0, 8, 16, 24], 3),
        ([0, 10, 20, 24], 3),  # a smaller last batch
        ([0, 1, 24], 2),
        ([0, 5, 24], 4),
    ],
)
def test_a_group_is_worth_its_rows(cuts: list[int], accumulate: int) -> None:
    whole, parted = of(Aggregate), of(Aggregate)
    one, several = engine_of(whole), engine_of(parted, steps=len(cuts) - 1, accumulate=accumulate)
    whole.eval(), parted.eval()
    batch = replace(toy_batch(24), random=None)
    one.begin(0, 0)
    whole.step(batch, one)
    for index, (start, stop) in enumerate(pairwise(cuts)):
        several.begin(0, index)
        parted.step(rows(batch, start, stop), several)
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(value, parted.state_dict()[name], rtol=1e-4, atol=1e-6, msg=name)


def test_every_second_group_of_an_epoch_begins_anew() -> None:
    method = of(Aggregate)
    engine = engine_of(method, steps=5, accumulate=2, epochs=2)
    method.eval()
    moved = []
    for index in range(10):
        before = parameters(method)
        engine.begin(*divmod(index, 5))
        method.step(toy_batch(seed=index), engine)
        if index % 5 == 4:
            engine.finish_epoch()
        moved.append(any(not torch.equal(value, before[name]) for name, value in parameters(method).items()))
    assert moved == [False, True, False, True, True] * 2


def test_optimisers_in_turns_each_wait_for_their_own_batches() -> None:
    method = of(InTurns)
    engine = engine_of(method, steps=6, accumulate=2)
    changes = []
    for index in range(6):
        before = parameters(method)
        engine.begin(0, index)
        method.step(toy_batch(seed=index), engine)
        if index == 5:
            engine.finish_epoch()
        changes.append(
            {
                name.startswith("critic")
                for name, value in parameters(method).items()
                if not torch.equal(value, before[name])
            }
        )
    # The critic learns from batches 0 and 2, the classifier from 1 and 3; the rest is used at the end of the epoch.
    assert changes == [set(), set(), {True}, {False}, set(), {True, False}]


def test_waiting_gradients_are_saved() -> None:
    states = []
    for broken in (False, True):
        method = of(InTurns)
        engine = engine_of(method, steps=6, accumulate=2)
        for index in range(6):
            if broken and index in (1, 2, 5):
                kept, weights = (
                    engine.state_dict(),
                    {name: value.clone() for name, value in method.state_dict().items()},
                )
                method = of(InTurns)
                method.load_state_dict(weights)
                engine = engine_of(method, steps=6, accumulate=2)
                engine.load_state_dict(kept, epochs_begun=1)
            engine.begin(0, index)
            with toy_batch(seed=index, step=index).random.seeded("layers"):
                method.step(toy_batch(seed=index, step=index), engine)
        engine.finish_epoch()
        states.append(method.state_dict())
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), name


def test_several_updates_in_a_step_cannot_be_accumulated() -> None:
    class Twice(Split):
        name = "twice"

        def step(self, batch: DomainBatch, engine: Any) -> dict[str, torch.Tensor]:
            for _ in range(2):
                loss = loss_of(self, batch)
                engine.backward(loss, batch, only=("head",))
                engine.update("head")
            return {"classification": loss.detach()}

    method = of(Twice)
    engine = engine_of(method)
    engine.begin(0, 0)
    method.step(toy_batch(), engine)
    engine = engine_of(method, accumulate=2, steps=4)
    engine.begin(0, 0)
    with pytest.raises(InputError, match=r"accumulate: method 'twice' updates optimiser 'head' several times"):
        method.step(toy_batch(), engine)


@pytest.mark.parametrize(("kind", "accumulate"), [(Alternating, 3), (InTurns, 2)], ids=["alternating", "in turns"])
def test_interrupted_runs_end_bit_for_bit_alike(
    kind: Any, accumulate: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from domain_masks.training.epoch_loop import EpochLoop  # noqa: PLC0415

    data = generated.dataset(8)
    settings = generated.config(
        method=kind.name, epochs=2, batch=10, accumulate=accumulate, optimizer="sgd", lr=0.02, checkpoint_every=1e-9
    )
    with other_methods.registered(kind):
        whole = run(settings, tmp_path / "whole", dataset=data, reporter=Quiet())
        checkpoint_if_due, left = EpochLoop.checkpoint_if_due, [3]

        def interrupt(loop: EpochLoop, progress: Any, *arguments: Any, **options: Any) -> None:
            checkpoint_if_due(loop, progress, *arguments, **options)
            left[0] -= 1
            if left[0] == 0:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(EpochLoop, "checkpoint_if_due", interrupt)
            with pytest.raises(KeyboardInterrupt):
                run(settings, tmp_path / "run", dataset=data, reporter=Quiet())
        resumed = run(settings, tmp_path / "run", resume=True, dataset=data, reporter=Quiet())
    assert resumed.folder.model.read_bytes() == whole.folder.model.read_bytes()
    times = ("seconds", "images_per_second")
    logs = [
        [
            {name: value for name, value in row.items() if name not in times}
            for row in MetricsLog(done.folder.metrics).read()
        ]
        for done in (whole, resumed)
    ]
    assert logs[0] == logs[1]


def test_the_loss_of_the_log_is_that_of_its_terms(tmp_path: Path) -> None:
    data = generated.dataset(12)
    with other_methods.registered(Alternating, InTurns):
        for name, columns in (
            ("alternating", {"loss/classification"}),
            ("in_turns", {"loss/told", "loss/classification"}),
        ):
            done = run(generated.config(method=name, epochs=1), tmp_path / name, dataset=data, reporter=Quiet())
            (row,) = MetricsLog(done.folder.metrics).read()
            terms = {column: value for column, value in row.items() if column.startswith("loss/")}
            assert set(terms) == columns
            assert row["loss"] == sum(terms.values())
            assert ("log/told" in row) == (name == "alternating")
            # In turns: each is the mean of the steps that had it, not of all.
            assert row["loss/classification"] > 0.5


class Frozen(WithCritic):
    """An optimiser has nothing to train."""

    name = "frozen_critic"

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.critic.requires_grad_(False)

    def step(self, batch: DomainBatch, engine: Any) -> dict[str, torch.Tensor]:
        told, classified = self.losses(batch)
        engine.backward(told, batch, only=("critic",), retain=True)
        engine.backward(classified, batch)
        engine.update("critic")
        engine.update("classifier")
        return {"classification": classified.detach()}


def test_an_optimiser_without_anything_to_train_does_nothing(tmp_path: Path) -> None:
    with other_methods.registered(Frozen):
        settings = generated.config(method="frozen_critic", epochs=1, accumulate=2)
        done = run(settings, tmp_path / "run", dataset=generated.dataset(6), reporter=Quiet())
    (row,) = MetricsLog(done.folder.metrics).read()
    assert {name for name in row if name.startswith("lr/")} == {"lr/body", "lr/head"}


def test_a_parameter_that_is_unfrozen_on_the_way_is_named() -> None:
    method = of(Frozen)
    engine = engine_of(method, steps=2)
    engine.begin(0, 0)
    method.step(toy_batch(), engine)
    method.critic.requires_grad_(True)
    engine.begin(0, 1)
    engine.backward(method.losses(toy_batch())[0], toy_batch())
    with pytest.raises(InputError, match=r"parameter critic\.weight .* was frozen when training began"):
        engine.update()


class LeftOut(Aggregate):
    name = "left_out"

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.more = nn.Linear(2, 2)
        self.kept = nn.Linear(2, 2).requires_grad_(False)


class InTwo(Split):
    name = "in_two"

    def optimizers(self) -> dict[str, tuple[str, ...]]:
        return {"all": ("body", "head"), "head": ("head",)}


class InOneTwice(Split):
    name = "in_one_twice"

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        groups = super().parameter_groups()
        return {"body": groups["body"] + groups["head"], "head": groups["head"]}


class Foreign(Aggregate):
    name = "foreign"

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        if not hasattr(self, "layers"):
            self.layers = [nn.Linear(2, 2)]
        return {**super().parameter_groups(), "layers": list(self.layers[0].parameters())}


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (
            LeftOut,
            r"2 parameters of method 'left_out' would never be trained: more\.weight, more\.bias\. Expected each",
        ),
        (InTwo, r"parameter network.* is in group 'head' of optimiser 'head' and in group 'head' of optimiser 'all'"),
        (
            InOneTwice,
            r"parameter network.* is in group 'head' of optimiser 'head' and in group 'body' of optimiser 'body'",
        ),
        (
            Foreign,
            r"group 'layers' of optimiser 'main' of method 'foreign' holds a tensor of shape \(2, 2\) that is no parameter",
        ),
    ],
)
def test_parameters_that_are_not_trained_once_are_named(kind: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        trained_groups(of(kind))
    with other_methods.registered(kind), pytest.raises(InputError, match=message):
        run(generated.config(method=kind.name), tmp_path / "run", dataset=generated.dataset(6), reporter=Quiet())
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("method", ["in_turns", "alternating", "split"])
def test_several_processes_accumulate_as_one_does(method: str, tmp_path: Path) -> None:
    script = Path(__file__).parent / "several_processes.py"
    # A network without batch norm, whose statistics are those of a process's own rows on a CPU.
    settings: dict[str, Any] = {"backbone": "squeezenet1_1", "size": 32, "epochs": 2, "batch": 13, "accumulate": 3}
    settings |= {"optimizer": "sgd", "lr": 0.01, "augmentation": "none"}
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(script.parents[1]), *sys.path]),
    }
    tensors, losses = [], []
    for devices in (1, 2):
        out = tmp_path / str(devices)
        command = [sys.executable, str(script), str(out), method, json.dumps({**settings, "devices": devices})]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        tensors.append(load_file(out / "model.safetensors"))
        losses.append([row["loss"] for row in MetricsLog(out / "metrics.csv").read()])
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
    for name, value in tensors[0].items():
        torch.testing.assert_close(tensors[1][name], value, atol=1e-4, rtol=1e-3, msg=name)
