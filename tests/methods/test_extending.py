"""What docs/extending.md says is real: every piece of code is taken from the page and run."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import domain_masks as dm
from domain_masks.cli import main
from domain_masks.errors import InputError
from domain_masks.methods import METHODS, Aggregate, Method, Paper, Phase
from domain_masks.methods.base import PREDICTIONS
from domain_masks.methods.saving import load_model
from domain_masks.networks import Network
from domain_masks.randomness import seeded
from domain_masks.records.config import RunConfig
from domain_masks.records.metrics_log import MetricsLog
from domain_masks.sampling import SAMPLING
from domain_masks.schedules import SCHEDULES
from domain_masks.training import evaluate
from domain_masks.training.engine import TrainingEngine
from domain_masks.training.launching import launch
from methods.contract import SIZE, of, toy_batch

PAGE = Path(__file__).parents[2] / "docs" / "extending.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


@pytest.fixture
def registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Import the page's first block as a user's own module; METHODS and sys.modules are put back afterwards."""
    file = tmp_path / "manifold_mixup.py"
    file.write_text(BLOCKS[0], encoding="utf-8")
    # The page's last line sets it for good; set here first, it is removed again.
    monkeypatch.setitem(METHODS, "manifold_mixup", METHODS["aggregate"])
    specification = importlib.util.spec_from_file_location("manifold_mixup_of_the_page", file)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    monkeypatch.setitem(sys.modules, "manifold_mixup_of_the_page", module)
    specification.loader.exec_module(module)
    assert METHODS["manifold_mixup"] is module.ManifoldMixup
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("registered")
def test_the_pages_method_trains(tmp_path: Path) -> None:
    names: dict[str, object] = {}
    exec(BLOCKS[1], names)
    run = names["run"]
    assert isinstance(run, dm.training.Run)
    assert run.results.method == "manifold_mixup"
    assert run.results.epochs_run == 1
    assert run.out_of_domain is not None
    assert set(run.results.out_of_domain["by_ensemble"]) == {"predictions"}
    method, card = load_model(tmp_path / "runs" / "manifold-mixup")
    assert card["method"] == {"name": "manifold_mixup", "strongest": 0.5}
    (epoch,) = MetricsLog(run.folder.metrics).read()
    assert epoch["step"] == 2
    with seeded(0, "initialisation/backbone"):
        untrained = dm.networks.build_backbone("small", 10)
    trained = dict(method.network.network.named_parameters())
    assert not any(torch.equal(trained[name], parameter) for name, parameter in untrained.named_parameters())


@pytest.mark.usefixtures("registered")
def test_its_settings_are_checked(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"method\.strongest: .*less than or equal to 1"):
        dm.train(method={"name": "manifold_mixup", "strongest": 2.0}, out=tmp_path / "run")


@pytest.mark.usefixtures("registered")
def test_it_is_listed_with_its_settings(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["methods", "manifold_mixup"]) == 0
    assert "--method.strongest (default: 1.0)  largest share that the partner gets" in capsys.readouterr().out


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("frozen", [{}, {"freeze_features": True, "views": 1}], ids=["images", "frozen"])
def test_it_weights_the_classes(tmp_path: Path, frozen: dict[str, Any]) -> None:
    run = dm.train(method="manifold_mixup", class_weights="balanced", fast=True, out=tmp_path / "run", **frozen)
    assert run.results.epochs_run == 1


def block(first_line: str) -> str:
    """Return the page's block that begins so."""
    (found,) = [text for text in BLOCKS if text.startswith(first_line)]
    return found


def defined(code: str, **names: Any) -> dict[str, Any]:
    """Run a block of the page; returns what it defines."""
    known = {"torch": torch, "functional": functional, "Phase": Phase, "Method": Method, "Paper": Paper} | names
    before = {*known}
    exec(code, known)
    return {name: value for name, value in known.items() if name not in before and name != "__builtins__"}


class WithCritic(Aggregate):
    """What the page's steps with two optimisers are written for."""

    name = "with_critic"

    def __init__(self, backbone: nn.Module, context: Any, settings: Any) -> None:
        super().__init__(backbone, context, settings)
        image = torch.zeros(1, 3, context.image_size, context.image_size)
        width = self.network.frozen_features(image).flatten(1).shape[1]
        self.critic = nn.Linear(width, len(context.sources))


ONE_PASS, TWO_PASSES = block("def parameter_groups(self)"), block("def step(self, batch, engine):\n    features")


def with_steps(*codes: str) -> type[Method]:
    """Return a method with the functions of the page's blocks."""
    functions = {name: value for code in codes for name, value in defined(code).items()}
    kind: type[Method] = type("OfThePage", (WithCritic,), {"name": "of_the_page"})
    for name, function in functions.items():
        if "super()" in "".join(codes) and name == "parameter_groups":
            # A function outside a class has no class that super() could ask.
            function = lambda self: {  # noqa: E731, PLW2901
                **Aggregate.parameter_groups(self),
                "critic": list(self.critic.parameters()),
            }
        setattr(kind, name, function)
    return kind


def gradient(loss: torch.Tensor, parameters: Any) -> list[torch.Tensor]:
    return list(torch.autograd.grad(loss, list(parameters), allow_unused=True, retain_graph=True))


@pytest.mark.parametrize("codes", [(ONE_PASS,), (ONE_PASS, TWO_PASSES)], ids=["one pass", "two passes"])
def test_two_optimisers_learn_each_from_its_own_loss(codes: tuple[str, ...]) -> None:
    method = of(with_steps(*codes)).train()
    batch, rate = toy_batch(), 0.05
    names = dict(method.named_parameters())
    critic = {name: value for name, value in names.items() if name.startswith("critic.")}
    others = {name: value for name, value in names.items() if name not in critic}
    before = {name: value.detach().clone() for name, value in names.items()}
    config = RunConfig(optimizer="sgd", lr=rate, momentum=0.0)
    engine = TrainingEngine(launch(config), method, config, epochs=2, steps_per_epoch=1)
    engine.begin(1, 0)
    with batch.random.seeded("layers"):
        features = method.boundary_features(batch)
    told = functional.cross_entropy(method.critic(features.flatten(1)), batch.domains)
    expected = {
        name: before[name] - rate * value
        for (name, _), value in zip(critic.items(), gradient(told, critic.values()), strict=True)
    }
    weights = {name: expected[f"critic.{name}"] for name in ("weight", "bias")} if len(codes) > 1 else None
    answered = features.flatten(1)
    scores = (
        method.critic(answered) if weights is None else functional.linear(answered, weights["weight"], weights["bias"])
    )
    with batch.random.seeded("layers"):
        classified = functional.cross_entropy(method.network.task(features), batch.labels)
    whole = classified - 0.1 * 0.5 * functional.cross_entropy(scores, batch.domains)
    expected |= {
        name: before[name] - rate * value
        for (name, _), value in zip(others.items(), gradient(whole, others.values()), strict=True)
    }
    with batch.random.seeded("layers"):
        terms = method.step(batch, engine)
    assert "classification" in terms
    for name, value in method.named_parameters():
        torch.testing.assert_close(value.detach(), expected[name], rtol=1e-4, atol=1e-6, msg=name)
        assert value.grad is None, name
    assert not torch.equal(before["critic.weight"], method.critic.weight)


@pytest.mark.parametrize("codes", [(ONE_PASS,), (ONE_PASS, TWO_PASSES)], ids=["one pass", "two passes"])
def test_two_optimisers_train_a_run(codes: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS, "of_the_page", with_steps(*codes))
    run = dm.train(method="of_the_page", fast=True, accumulate=2, class_weights="balanced", out=tmp_path / "run")
    (epoch,) = MetricsLog(run.folder.metrics).read()
    terms = {name: value for name, value in epoch.items() if name.startswith("loss/")}
    assert epoch["loss"] == pytest.approx(sum(terms.values()))
    assert set(terms) | {name for name in epoch if name.startswith("log/")} in (
        {"loss/classification", "log/told"},
        {"loss/classification", "loss/critic"},
    )


def test_the_default_step_is_the_one_shown() -> None:
    shown = defined(block("def step(self, batch, engine):\n    terms"))["step"]
    learned = []
    for step in (shown, Method.step):
        method = of(Aggregate).train()
        config = RunConfig(optimizer="sgd", lr=0.05)
        engine = TrainingEngine(launch(config), method, config, epochs=1, steps_per_epoch=1)
        engine.begin(0, 0)
        with toy_batch().random.seeded("layers"):
            step(method, toy_batch(), engine)
        learned.append(method.state_dict())
    for name, value in learned[0].items():
        assert torch.equal(value, learned[1][name]), name


def test_phases_are_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = type("Phased", (Aggregate,), {"name": "phased", **defined(block("def phases(self)"))})
    monkeypatch.setitem(METHODS, "phased", kind)
    run = dm.train(method="phased", fast=True, out=tmp_path / "run")
    assert run.results.epochs_run == 2
    assert run.results.best_epoch == 2


def test_the_closed_form_is_fitted_and_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = defined(block("class NearestMean"), Network=Network, PREDICTIONS=PREDICTIONS)["NearestMean"]
    monkeypatch.setitem(METHODS, kind.name, kind)
    run = dm.train(method=kind.name, fast=True, size=SIZE, out=tmp_path / "run")
    assert run.results.epochs_run == 0
    assert run.results.in_domain["accuracy"] > 0.2
    assert evaluate(tmp_path / "run").results.in_domain == run.results.in_domain


def test_schedules_and_ways_of_sampling_are_added(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for names in (SAMPLING, SCHEDULES):
        for name in ("halves", "one_domain_at_a_time"):
            # Set here first, they are removed again.
            monkeypatch.setitem(names, name, None)
            monkeypatch.delitem(names, name)
    exec(block("from domain_masks.sampling"), {"np": np})
    settings = {"schedule": "halves", "sampling": "one_domain_at_a_time"}
    assert main(["train", "--help"]) == 0
    shown = capsys.readouterr().out
    assert "cosine|halves" in shown
    assert "balanced|one_domain_at_a_time" in shown
    (tmp_path / "run.yaml").write_text("".join(f"{name}: {value}\n" for name, value in settings.items()))
    assert main(["train", "--config", str(tmp_path / "run.yaml"), "--print_config"]) == 0
    assert "schedule: halves" in capsys.readouterr().out
    flags = [word for name, value in settings.items() for word in (f"--{name}", value)]
    assert main(["train", *flags, "--epochs", "2", "--batch", "512", "--quiet", "--out", str(tmp_path / "run")]) == 0
    rates = [row["lr/head"] for row in MetricsLog(tmp_path / "run" / "metrics.csv").read()]
    assert rates == [3e-3, 1.5e-3]
    with pytest.raises(InputError, match=r"schedule: .*'halves', got 'halfs' \(did you mean 'halves'\?\)"):
        dm.train(schedule="halfs", out=tmp_path / "other")


@pytest.mark.parametrize("factor", [float("nan"), -1.0])
def test_a_schedule_that_gives_no_factor_is_named(
    factor: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SCHEDULES, "odd", lambda time, total, settings: factor)
    with pytest.raises(InputError, match=r"schedule 'odd' gave .* in epoch 1"):
        dm.train(schedule="odd", fast=True, out=tmp_path / "run")


def test_a_way_of_sampling_with_other_batches_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SAMPLING, "half", lambda *given: SAMPLING["pooled"](*given)[::2])
    with pytest.raises(InputError, match=r"sampling 'half' gave \d+ batches of epoch 1: expected \d+"):
        dm.train(sampling="half", fast=True, out=tmp_path / "run")
