"""What docs/extending.md says is real: every piece of code is taken from the page and run."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

import domain_masks as dm
from domain_masks.cli import main
from domain_masks.errors import InputError
from domain_masks.methods import METHODS, Aggregate, Method, plugins
from domain_masks.methods.base import domains_of, labels_of
from domain_masks.methods.saving import load_model
from domain_masks.randomness import seeded
from domain_masks.records.config import RunConfig
from domain_masks.records.metrics_log import MetricsLog
from domain_masks.sampling import SAMPLING
from domain_masks.schedules import SCHEDULES
from domain_masks.training import evaluate
from domain_masks.training.engine import TrainingEngine
from domain_masks.training.launching import launch
from methods import contract, contract_runs
from methods.contract import SIZE, of, toy_batch
from methods.contract_runs import RUN_CHECKS

PAGE = Path(__file__).parents[2] / "docs" / "extending.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


WHOLE = {found.group(1): text for text in BLOCKS if (found := re.search(r'^METHODS\["(\w+)"\]', text, re.MULTILINE))}
"""Name -> the file of a whole method of the page."""


@pytest.fixture
def registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Import the page's whole methods as a user's own files; METHODS is put back afterwards."""
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.chdir(tmp_path)
    before = dict(METHODS.data)
    for name, text in WHOLE.items():
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
    plugins.load_plugins([f"{name}.py" for name in WHOLE])
    yield
    METHODS.data = before
    plugins._LOADED.clear()
    contract_runs.whole.cache_clear()


def test_there_is_a_whole_method_of_every_kind() -> None:
    assert [*WHOLE] == ["manifold_mixup", "fish", "deceived", "anchored", "nearest_mean"]


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("name", WHOLE)
def test_each_holds_the_contract(name: str) -> None:
    assert METHODS[name].name == name
    for check in contract.CHECKS:
        check(contract.built(name))


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("name", WHOLE)
def test_each_holds_the_contract_in_runs(name: str) -> None:
    for check in RUN_CHECKS:
        check(name)


@pytest.mark.usefixtures("registered")
def test_the_pages_commands_show_it(capsys: pytest.CaptureFixture[str]) -> None:
    text = PAGE.read_text(encoding="utf-8")
    commands = re.search(r"^```sh\n(dmg methods manifold_mixup.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert commands is not None
    for command in commands.group(1).splitlines():
        if "--dry_run" not in command:
            assert main(shlex.split(command)[1:]) == 0, command
    shown = capsys.readouterr().out
    assert "searched: 0.1 to 1.0" in shown
    assert "run folder    runs/manifold-mixup" in shown


@pytest.mark.usefixtures("registered")
def test_the_pages_method_trains(tmp_path: Path) -> None:
    names: dict[str, object] = {}
    exec(BLOCKS[1], names)
    run = names["run"]
    assert isinstance(run, dm.training.Run)
    assert run.results.method == "manifold_mixup"
    assert run.results.epochs_run == 1
    assert run.out_of_domain is not None
    assert set(run.results.out_of_domain.by_ensemble) == {"predictions"}
    method, card = load_model(tmp_path / "runs" / "manifold-mixup")
    assert card.method.model_dump() == {"name": "manifold_mixup", "strongest": 0.5}
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
    assert "--method.strongest (default: 1.0)  maximum share of the partner" in capsys.readouterr().out


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
    known = {"torch": torch, "functional": functional} | names
    before = {*known}
    exec(code, known)
    return {name: value for name, value in known.items() if name not in before and name != "__builtins__"}


TWO_PASSES = block("def step(self, batch, engine):\n    features")


def with_critic(*steps: str) -> type[Method]:
    """Return the page's method with two optimisers, or with another step of the page."""
    kind: type[Method] = METHODS["deceived"]
    known = {"domains_of": domains_of, "labels_of": labels_of}
    own = {name: value for code in steps for name, value in defined(code, **known).items()}
    return type("OfThePage", (kind,), {"name": "of_the_page", **own})


def deceived(*steps: str) -> Method:
    """Return such a method, with a rate of the critic like that of the classifier."""
    kind: Any = with_critic(*steps)
    made: Method = kind(contract.built_backbone(), contract.context(), kind.Settings(critic_lr=RATE))
    return made


RATE = 0.05


def gradient(loss: torch.Tensor, parameters: Any) -> list[torch.Tensor]:
    return list(torch.autograd.grad(loss, list(parameters), allow_unused=True, retain_graph=True))


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("codes", [(), (TWO_PASSES,)], ids=["one pass", "two passes"])
def test_two_optimisers_learn_each_from_its_own_loss(codes: tuple[str, ...]) -> None:
    method: Any = deceived(*codes).train()
    batch, rate = toy_batch(), RATE
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
    weights = {name: expected[f"critic.{name}"] for name in ("weight", "bias")} if codes else None
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


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("codes", [(), (TWO_PASSES,)], ids=["one pass", "two passes"])
def test_two_optimisers_train_a_run(codes: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS, "of_the_page", with_critic(*codes))
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


@pytest.mark.usefixtures("registered")
def test_phases_are_run(tmp_path: Path) -> None:
    run = dm.train(method="anchored", fast=True, out=tmp_path / "run")
    assert run.results.epochs_run == 2
    assert run.results.best_epoch == 2
    first, second = MetricsLog(run.folder.metrics).read()
    assert "loss/distance" not in first or first["loss/distance"] in ("", None)
    assert float(second["loss/distance"]) >= 0


@pytest.mark.usefixtures("registered")
def test_the_closed_form_is_fitted_and_measured(tmp_path: Path) -> None:
    run = dm.train(method="nearest_mean", fast=True, size=SIZE, out=tmp_path / "run")
    assert run.results.epochs_run == 0
    assert run.results.in_domain.accuracy > 0.2
    assert evaluate(tmp_path / "run").results.in_domain == run.results.in_domain


@pytest.mark.usefixtures("registered")
def test_the_inner_loop_goes_where_its_steps_have_led() -> None:
    """One step of SGD at the inner rate ends where one step on each source after the other ends."""
    method: Any = contract.still(contract.built("fish"))
    batch, rate = toy_batch(), method.settings.inner_lr
    twin: Any = contract.still(contract.built("fish"))
    for domain in twin.order(batch):
        rows = batch.domains == domain
        loss = functional.cross_entropy(twin.network(batch.images[rows]), batch.labels[rows])
        for parameter, slope in zip(
            twin.network.parameters(), torch.autograd.grad(loss, list(twin.network.parameters())), strict=True
        ):
            parameter.data -= rate * slope
    config = RunConfig(optimizer="sgd", lr=rate, momentum=0.0)
    engine = TrainingEngine(launch(config), method, config, epochs=1, steps_per_epoch=1)
    engine.begin(0, 0)
    method.step(batch, engine)
    for name, value in method.named_parameters():
        torch.testing.assert_close(value, dict(twin.named_parameters())[name], rtol=1e-4, atol=1e-6, msg=name)


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
