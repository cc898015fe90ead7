"""The automatic learning rate: halfway down the fall of the loss, found on a copy; the run is as if it had been named."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import generated
from domain_masks.errors import InputError
from domain_masks.experiments.run_index import key_of
from domain_masks.methods.settings import with_settings
from domain_masks.records.config import parse_config, read_config
from domain_masks.records.identity import inputs_noted
from domain_masks.settings.benchmark_lists import check_benchmark
from domain_masks.settings.validation import check_settings
from domain_masks.training import rate_search, run
from domain_masks.training.rate_search import chosen_rate, rising_rates, smoothed
from reporters import RecordingReporter


def test_rates_rise_by_a_constant_factor() -> None:
    rates = rising_rates(9)
    assert rates[0] == pytest.approx(1e-6)
    assert rates[-1] == pytest.approx(1.0)
    assert rates[4] == pytest.approx(1e-3)


def losses_at(rates: list[float], start: float, lowest: float, noise: float) -> list[float]:
    """Flat up to 1e-4, falling in the logarithm of the rate to 1e-2, and rising steeply from 0.1."""
    random = np.random.default_rng(0)
    decades = np.log10(rates)
    fallen = np.interp(decades, [-4, -2], [start, lowest]) + 20 * np.clip(decades + 1, 0, None)
    return (fallen + noise * random.standard_normal(len(rates))).tolist()


def test_the_chosen_rate_is_halfway_down() -> None:
    rates = rising_rates(200)
    for noise in (0.0, 0.05, 0.1):
        assert 6e-4 < chosen_rate(rates, losses_at(rates, 2.3, 1.8, noise)) < 1.7e-3, noise
    # Smoothing does not shift the curve.
    means = smoothed(rates, losses_at(rates, 2.3, 1.8, 0.0))
    assert np.interp(1e-3, rates, means) == pytest.approx(2.05, abs=0.01)


def test_a_small_fall_is_enough_where_batches_hardly_differ() -> None:
    rates = rising_rates(200)
    assert 6e-4 < chosen_rate(rates, losses_at(rates, 2.3, 2.2, 0.03)) < 1.7e-3
    with pytest.raises(InputError, match=r"it fell from 2\.\d+ by 0\.\d+, and differs by 0\.\d+ from batch"):
        chosen_rate(rates, losses_at(rates, 2.3, 2.2, 0.1))


def test_where_no_rate_lowers_the_loss_none_is_chosen() -> None:
    rates = rising_rates(200)
    slowly = [2.0 - step / 20000 for step in range(200)]
    for useless in ([1.0 + i for i in range(30)], losses_at(rates, 2.3, 2.3, 0.05), slowly, [3.0, 2.0, 1.0], []):
        with pytest.raises(InputError, match="lr: 'auto' found no rate that lowers the loss clearly"):
            chosen_rate(rates[: len(useless)], useless)
    assert rates[0] <= chosen_rate(rates, slowly, however_small=True) <= rates[-1]


def test_a_smoke_run_does_not_refuse(tmp_path: Path) -> None:
    config = generated.config(lr="auto", epochs=1, fast=True)
    done = run(config, tmp_path / "run", dataset=generated.dataset(8), reporter=RecordingReporter())
    assert 1e-6 <= read_config(done.folder.config)["lr"] <= 1


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Any:
    lines = RecordingReporter()
    out = tmp_path_factory.mktemp("searched") / "run"
    config = generated.config(lr="auto", epochs=1, freeze_epochs=0, layer_decay=0.9, lr_masks=0.1)
    return run(config, out, dataset=generated.dataset(8), reporter=lines), lines.lines


def test_a_run_is_the_one_that_names_the_rate(searched: Any, tmp_path: Path) -> None:
    done, lines = searched
    rate = read_config(done.folder.config)["lr"]
    assert 1e-6 < rate < 10
    assert any(line.startswith(f"lr: {rate:.2g} (auto") for line in lines)
    named = generated.config(lr=rate, epochs=1, layer_decay=0.9, lr_masks=0.1)
    again = run(named, tmp_path / "named", dataset=generated.dataset(8), reporter=RecordingReporter())
    assert again.folder.model.read_bytes() == done.folder.model.read_bytes()


def test_the_search_is_kept_in_the_run_folder(searched: Any) -> None:
    folder = searched[0].folder
    assert (folder.figures / "learning_rate.png").read_bytes().startswith(b"\x89PNG")
    rows = list(csv.DictReader((folder.figures / "learning_rate.csv").open()))
    assert 10 <= len(rows) <= rate_search.STEPS
    assert all(float(row["loss"]) > 0 and float(row["batch_loss"]) > 0 for row in rows)


def test_a_run_whose_rate_was_searched_has_a_key_of_its_own_and_is_resumed_with_its_rate(searched: Any) -> None:
    folder = searched[0].folder
    asked = with_settings(generated.config(lr="auto", epochs=1, layer_decay=0.9, lr_masks=0.1, method="dmg"))
    found = parse_config(read_config(folder.config))
    noted = inputs_noted(folder)
    assert noted is not None
    assert noted["lr"] == "auto"
    assert key_of(asked.model_copy(update={"lr": "auto"}), ()) != key_of(asked.model_copy(update={"lr": found.lr}), ())
    before = folder.model.read_bytes()
    lines = RecordingReporter()
    again = run(
        generated.config(lr="auto", epochs=1, layer_decay=0.9, lr_masks=0.1),
        folder.path,
        resume=True,
        dataset=generated.dataset(8),
        reporter=lines,
    )
    assert again.folder.model.read_bytes() == before
    assert not any(line.startswith("lr:") for line in lines.lines), "it is not searched again"


def test_what_has_no_single_rate_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="lr: method 'dica' is fitted in closed form"):
        check_settings({"method": "dica", "lr": "auto"})
    for values, lists in (({"lr": "auto"}, {}), ({}, {"sweep": ["lr=auto,0.1"]})):
        with pytest.raises(InputError, match="lr: 'auto' would give every run of a benchmark a rate of its own"):
            check_benchmark(values, lists)
    with pytest.raises(InputError, match="'metareg' is trained in 2 phases: name a number"):
        run(
            generated.config(method="metareg", lr="auto"),
            tmp_path / "run",
            dataset=generated.dataset(8),
            reporter=RecordingReporter(),
        )
    assert not (tmp_path / "run").exists()
