"""A method's own defaults stand where nothing was given, in single runs and benchmarks, and its batches hold what it needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import generated
from domain_masks.cli import main
from domain_masks.data.digits import load_digits_dataset
from domain_masks.errors import InputError
from domain_masks.experiments.plan import leave_one_out
from domain_masks.experiments.run_index import key_of
from domain_masks.methods import METHODS, Aggregate
from domain_masks.methods.run_defaults import own_defaults
from domain_masks.progress import ConsoleReporter
from domain_masks.records.config import parse_config, read_config
from domain_masks.sampling import SAMPLING
from domain_masks.settings import by_method
from domain_masks.settings.validation import check_settings
from domain_masks.training import run
from domain_masks.training.defaults import notes, resolve

QUIET = ConsoleReporter(quiet=True)


class Episodic(Aggregate):
    """Needs images of every source, and learns slowly by SGD."""

    name = "episodic"
    rows_per_domain = 2
    defaults = {"optimizer": "sgd", "momentum": 0.5, "lr": 1e-2, "batch": 48}  # noqa: RUF012


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS, "episodic", Episodic)


def of_method(**given: Any) -> Any:
    return resolve(check_settings({"method": "episodic", **given}), load_digits_dataset())


def chosen(config: Any) -> tuple[Any, ...]:
    return config.sampling, config.optimizer, config.momentum, config.lr, config.batch


def test_they_stand_for_what_was_not_given_and_win_over_the_datasets() -> None:
    assert chosen(of_method()) == ("balanced", "sgd", 0.5, 1e-2, 48)
    assert chosen(of_method(lr=0.3, momentum=0.9, batch=64)) == ("balanced", "sgd", 0.9, 0.3, 64)
    others = resolve(check_settings({"method": "aggregate"}), load_digits_dataset())
    assert chosen(others) == ("pooled", "adam", 0.9, 3e-3, 64)


def test_what_belongs_to_its_optimiser_does_not_come_with_another() -> None:
    assert chosen(of_method(optimizer="adam")) == ("balanced", "adam", 0.9, 3e-3, 48)


def test_what_suits_a_default_is_not_told_to_contradict_the_usual_one() -> None:
    assert chosen(of_method(momentum=0.8)) == ("balanced", "sgd", 0.8, 1e-2, 48)
    with pytest.raises(InputError, match="momentum: adam has none"):
        check_settings({"method": "episodic", "momentum": 0.8, "optimizer": "adam"})


def test_they_are_said_and_a_complete_configuration_stays_as_it_is() -> None:
    config = of_method(lr=0.3)
    said = "note: method 'episodic' has defaults of its own: sampling balanced, optimizer sgd, momentum 0.5, batch 48"
    assert said in notes(config, load_digits_dataset())
    assert resolve(config, load_digits_dataset()) == config
    again = parse_config({**config.to_dict(), "method": {"name": "aggregate"}})
    assert chosen(resolve(again, load_digits_dataset())) == ("balanced", "sgd", 0.5, 0.3, 48)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (
            {"sampling": "pooled"},
            r"sampling: method 'episodic' needs 2 images of every source in each batch, .* balanced",
        ),
        ({"batch": 5}, r"batch: .* in each batch, and there are 3: expected 6 or more, got 5"),
        ({"batch": 9, "devices": 2}, r"batch: .* on each of 2 devices, and there are 3: expected 12 or more, got 9"),
    ],
)
def test_batches_that_lack_what_it_needs_are_refused(given: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        of_method(**given)
    assert of_method(batch=6).batch == 6


@pytest.mark.parametrize(
    ("defaults", "told"),
    [
        ({"lr": "fast"}, "lr: "),
        ({"learning": 1}, "learning: "),
        ({"backbone": "resnet18"}, "backbone: is not a setting of the training"),
        ({"seed": 3}, "seed: is not a setting of the training"),
    ],
)
def test_defaults_that_cannot_be_used_are_told(
    defaults: dict[str, Any], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Episodic, "defaults", defaults)
    with pytest.raises(InputError, match=f"method 'episodic' has defaults that cannot be used: .*{told}"):
        own_defaults(Episodic)


def test_each_method_of_a_benchmark_has_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    flags = ["benchmark", "--methods", "episodic", "aggregate", "--targets", "ink", "--sweep", "epochs=1,2"]
    assert main([*flags, "--dry_run"]) == 0
    said = capsys.readouterr().out
    assert said.count("note: method 'episodic' has defaults of its own: sampling balanced, optimizer sgd") == 1
    assert "lr 0.01" in said
    # And again from the file, which must not say that the shared defaults were meant for all.
    assert main([*flags, "--print_config"]) == 0
    (tmp_path / "benchmark.yaml").write_text(capsys.readouterr().out)
    plans = [
        leave_one_out(
            parse_config({name: value for name, value in values.items() if name in parse_config({}).to_dict()}),
            load_digits_dataset(),
            ["episodic", "aggregate"],
            ["ink"],
            [0],
            tmp_path,
            {"sweep": {"epochs": [1, 2]}},
        )
        for values in ({}, read_config(tmp_path / "benchmark.yaml"))
    ]
    assert [one.key for one in plans[0]] == [one.key for one in plans[1]]
    assert {chosen(one.config) for one in plans[1]} == {
        ("balanced", "sgd", 0.5, 1e-2, 48),
        ("pooled", "adam", 0.9, 3e-3, 64),
    }


def test_a_run_keeps_them_and_goes_on_with_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = generated.dataset(6)
    settings = parse_config({**generated.SETTINGS, "method": "episodic", "epochs": 1})
    run(settings, tmp_path / "run", dataset=dataset, reporter=QUIET)
    kept = parse_config(read_config(tmp_path / "run" / "config.yaml"))
    assert (kept.sampling, kept.optimizer, kept.lr, kept.batch) == ("balanced", "sgd", 3e-3, 16)
    # A later version with other defaults: the run is still the one that it was.
    monkeypatch.setattr(Episodic, "defaults", {"optimizer": "adam"})
    begun = parse_config(read_config(tmp_path / "run" / "config.yaml"))
    run(begun, tmp_path / "run", dataset=dataset, reporter=QUIET, resume=True)
    assert resolve(begun, dataset).optimizer == "sgd"


def test_a_way_of_sampling_that_leaves_out_a_source_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def by_domain(domains: Any, batch: int, _seed: int, _epoch: int) -> Any:
        rows = np.argsort(domains, kind="stable")
        return [rows[start : start + batch] for start in range(0, len(rows), batch)]

    monkeypatch.setitem(SAMPLING, "by_domain", by_domain)
    settings = parse_config({**generated.SETTINGS, "method": "episodic", "sampling": "by_domain", "batch": 8})
    told = r"sampling 'by_domain' gave 0 images of source 'plain' in batch 1 of epoch 1: expected 2 of every source"
    with pytest.raises(InputError, match=told):
        run(settings, tmp_path / "run", dataset=generated.dataset(6), reporter=QUIET)


# A recipe stands between what is given and the method's own defaults.

SHORT = {"epochs": 3, "lr": 0.02, "lr_masks": 0.5, "average": "ema"}


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(by_method.RECIPES, "short", SHORT)


def of_recipe(**given: Any) -> Any:
    return resolve(check_settings({"recipe": "short", **given}), load_digits_dataset())


@pytest.mark.usefixtures("short")
def test_a_recipe_wins_over_defaults_and_what_is_given_over_the_recipe() -> None:
    config = of_recipe()
    assert (config.recipe, config.epochs, config.lr, config.lr_masks, config.average) == ("short", 3, 0.02, 0.5, "ema")
    config = of_recipe(epochs=7, average="none")
    assert (config.epochs, config.average, config.lr_masks) == (7, "none", 0.5)
    assert of_recipe(method="episodic").lr == 0.02, "it wins over a method's own default"


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("method", ["aggregate", {"name": "dmg", "masks": "fixed"}])
def test_what_a_recipe_says_of_masks_is_left_out_where_none_are_learned(method: Any) -> None:
    config = of_recipe(method=method)
    assert (config.lr_masks, config.epochs) == (None, 3)


@pytest.mark.usefixtures("short")
def test_a_recipe_is_told_and_recorded_and_its_settings_are_what_a_run_is(tmp_path: Path) -> None:
    dataset = load_digits_dataset()
    config = of_recipe(epochs=7)
    assert "note: recipe 'short': lr 0.02, lr_masks 0.5, average ema" in notes(config, dataset)
    config.write(tmp_path / "config.yaml")
    again = parse_config(read_config(tmp_path / "config.yaml"))
    assert (again.recipe, resolve(again, dataset)) == ("short", config)
    by_hand = resolve(check_settings({**SHORT, "epochs": 7}), dataset)
    assert key_of(by_hand, dataset.domains) == key_of(config, dataset.domains)
    with pytest.raises(InputError, match=r"epochs|average"):
        check_settings({"recipe": "short", "average_start": 0.2})


@pytest.mark.usefixtures("short")
def test_a_benchmark_tells_its_recipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "benchmark",
        "--recipe",
        "short",
        "--methods",
        "dmg",
        "aggregate",
        "--out",
        str(tmp_path),
        "--print_config",
    ]
    assert main(words) == 0
    printed = capsys.readouterr()
    assert "note: recipe 'short': epochs 3, lr 0.02, lr_masks 0.5, average ema" in printed.err
    assert "recipe: short" in printed.out
    assert "epochs: 3" in printed.out


def test_the_papers_recipe_is_the_default_and_adds_nothing() -> None:
    assert check_settings({}).recipe == "paper"
    assert not by_method.RECIPES["paper"]
    with pytest.raises(InputError, match=r"recipe: .*paper.*got 'papier'"):
        check_settings({"recipe": "papier"})


def test_the_recipe_for_short_schedules_averages_the_weights() -> None:
    dmg, aggregate = (of_recipe(method=method) for method in ("dmg", "aggregate"))
    assert (dmg.lr_masks, dmg.average) == (None, "ema")
    assert (aggregate.lr_masks, aggregate.average) == (None, "ema")
    assert (dmg.lr, dmg.epochs) == (resolve(check_settings({}), load_digits_dataset()).lr, 20)
