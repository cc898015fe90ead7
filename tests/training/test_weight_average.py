"""Averages of weights: they move with the optimiser, are what is measured and saved, and leave training as it is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import generated
from domain_masks.errors import RunFolderError
from domain_masks.methods import Phase
from domain_masks.methods.saving import load_model
from domain_masks.records import MetricsLog, Results
from domain_masks.records.results import AveragedWeights
from domain_masks.settings.contradictions import contradictions
from domain_masks.settings.sweeps import without_mask_settings
from domain_masks.training import Experiment, evaluate, run
from domain_masks.training.checkpoints import load_checkpoint
from domain_masks.training.engine import TrainingEngine
from domain_masks.training.launching import launch
from domain_masks.training.loss_valley import LossValley, Segment
from domain_masks.training.parameter_average import ParameterAverage
from domain_masks.training.phases import PhasePlan
from domain_masks.training.run_progress import Progress
from domain_masks.training.state import RunState
from domain_masks.training.weight_average import decay_of, interval_of
from methods.contract import of
from references import weight_averages as slow
from training import other_methods
from training.test_phases import Silent

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def data() -> Any:
    return generated.dataset(10)


@pytest.fixture
def history(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Tensor]]:
    """Collects the method's parameters after every step that an optimiser really took, with its name."""
    found: list[dict[str, Tensor]] = []
    step = TrainingEngine._step

    def noted(self: TrainingEngine, name: str) -> bool:
        stepped = step(self, name)
        if stepped:
            state = {key: value.detach().double().clone() for key, value in self.method.named_parameters()}
            found.append({**state, "optimizer": name, "at": self.global_step + 1})
        return stepped

    monkeypatch.setattr(TrainingEngine, "_step", noted)
    return found


def trained(data: Any, out: Path, **settings: Any) -> Any:
    return run(generated.config(**settings), out, dataset=data, reporter=Silent())


def same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    for name, value in expected.items():
        torch.testing.assert_close(found[name].double(), value, atol=1e-6, rtol=1e-5, msg=name)


def of_each(history: list[dict[str, Tensor]], function: Any) -> dict[str, Tensor]:
    return {
        name: function([state[name] for state in history]) for name in history[0] if name not in ("optimizer", "at")
    }


def test_ema_is_the_recursion_over_updates_and_not_over_batches(data: Any, tmp_path: Path, history: Any) -> None:
    done = trained(data, tmp_path / "r", average="ema", average_decay=0.7, accumulate=2, epochs=2)
    steps = 2 * 3  # 60 images less validation and test: three batches an epoch, of which the last is a group of its own
    assert len(history) == load_checkpoint(done.folder.last)["engine"]["average"]["average"]["updates"]["main"] == 4
    assert history[-1]["at"] == steps
    updates = done.results.average.updates
    assert updates == 2 * done.results.best_epoch
    expected = of_each(history[:updates], lambda values: slow.ema(values, 0.7))
    best = load_checkpoint(done.folder.best)["method"]
    same(best, expected)
    # In the file under the user's own names, and in what is loaded from it.
    saved = load_file(done.folder.model)
    assert {"features.block1.0.weight", "classifier.head.weight"} <= set(saved)
    same(
        {f"network.network.{name}": value for name, value in saved.items()},
        {name: value for name, value in expected.items() if name.startswith("network.network.")},
    )
    same(load_model(done.folder.path)[0].state_dict(), expected)


def test_swa_is_the_mean_from_its_start_on_and_chooses_no_epoch_before(data: Any, tmp_path: Path, history: Any) -> None:
    done = trained(data, tmp_path / "r", average="swa", average_start=0.5, epochs=3)
    first = len(history) // 2
    average = done.results.average
    assert (average.first_step, done.results.best_epoch > 1) == (first + 1, True)
    assert average.last_step == done.results.best_epoch * len(history) // 3
    same(
        load_checkpoint(done.folder.best)["method"],
        of_each(history[first : average.last_step], slow.mean),
    )


@pytest.mark.parametrize("average", ["ema", "swa", "swad"])
def test_training_goes_on_as_without_an_average(data: Any, tmp_path: Path, average: str) -> None:
    plain = trained(data, tmp_path / "plain", epochs=2)
    averaged = trained(data, tmp_path / "averaged", epochs=2, average=average)
    raw, with_average = (load_checkpoint(done.folder.last) for done in (plain, averaged))
    for name, value in raw["method"].items():
        assert torch.equal(with_average["method"][name], value), name
    losses = [[row["loss"] for row in MetricsLog(done.folder.metrics).read()] for done in (plain, averaged)]
    assert losses[0] == losses[1]
    assert plain.folder.model.read_bytes() != averaged.folder.model.read_bytes()


def test_swad_averages_the_steps_of_the_valley(data: Any, tmp_path: Path, history: Any) -> None:
    settings = {"average": "swad", "average_interval": 2, "average_patience": 2, "epochs": 4}
    done = trained(data, tmp_path / "r", **settings)
    average = done.results.average
    assert done.results.best_epoch == done.results.epochs_run
    assert average.valley in ("started", "ended", "not found")
    assert average.updates == average.last_step - average.first_step + 1
    assert average.last_step % 2 == 0
    valley = history[average.first_step - 1 : average.last_step]
    same(load_checkpoint(done.folder.best)["method"], of_each(valley, slow.mean))


def test_the_valley_is_that_of_the_printed_algorithm() -> None:
    random = np.random.default_rng(0)
    ended = 0
    for _ in range(400):
        patience, overfit, count = (int(value) for value in random.integers(1, 5, 3))
        losses = (random.random(count * 5).cumsum() * random.choice([0.2, -0.1]) + random.random(count * 5)).tolist()
        tolerance = float(random.choice([1.0, 1.1, 1.3]))
        losses = [abs(loss) + 0.1 for loss in losses]
        first, last, stopped = slow.valley(losses, patience, overfit, tolerance)
        valley = LossValley(patience, overfit, tolerance)
        for index, loss in enumerate(losses):
            mean = ParameterAverage()
            # Two updates to a segment, the parameter being the step.
            for step in (2 * index + 1, 2 * index + 2):
                mean.add("main", {"w": torch.tensor([float(step)])}, torch.optim.swa_utils.get_swa_multi_avg_fn())
            valley.add(Segment(mean, loss, 2 * index + 1, 2 * index + 2))
            again = LossValley(patience, overfit, tolerance)
            again.load_state_dict(valley.state_dict(), {"w": torch.zeros(1)})
            valley = again
        found = valley.current()
        assert found is not None
        assert (found.first, found.last, valley.has_ended) == (2 * first + 1, 2 * last + 2, stopped)
        assert found.mean.updates == {"main": 2 * (last - first + 1)}
        torch.testing.assert_close(found.mean.means["main"]["w"], torch.tensor([(found.first + found.last) / 2]))
        ended += stopped
    assert 20 < ended < 380


def test_training_ends_with_the_valley(data: Any, tmp_path: Path) -> None:
    said = Said()
    settings = generated.config(
        average="swad",
        average_interval=1,
        average_patience=1,
        average_overfit_patience=1,
        average_tolerance=1,
        epochs=9,
        lr=0.1,
    )
    done = run(settings, tmp_path / "r", dataset=data, reporter=said)
    assert done.results.epochs_run < 9
    assert done.results.average.valley == "ended"
    assert any("the valley of the validation loss has ended" in line for line in said.lines)
    assert any("every 1 step of 27" in line for line in said.lines), said.lines
    assert evaluate(done.folder.path, Silent(), dataset=data).results.average == done.results.average


class Said(Silent):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


def test_statistics_of_batch_norm_are_those_of_the_averaged_weights_on_training_images(
    data: Any, tmp_path: Path
) -> None:
    settings = generated.config(method="aggregate", average="ema", average_decay=0.9, epochs=1, batch=20)
    done = run(settings, tmp_path / "r", dataset=data, reporter=Silent())
    best = load_checkpoint(done.folder.best)["method"]
    experiment = Experiment(settings, data, launch(settings), Silent())
    network = experiment.method.network.network
    experiment.method.load_state_dict(best)
    network.train()
    layers = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert layers
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None
    sources = experiment.sources()
    sources.train.set_epoch(0)
    batches = [experiment.prepare(batch) for batch in sources.train]
    full = [batch for batch in batches if len(batch) == 20]
    assert len(full) == done.results.average.batch_norm_images / 20 < len(batches)
    with torch.no_grad():
        for batch in full:
            network(batch.images)
    state = experiment.method.state_dict()
    assert any("running" in name for name in best)
    for name, value in best.items():
        torch.testing.assert_close(value, state[name], atol=1e-5, rtol=1e-4, msg=name)
    raw = load_checkpoint(done.folder.last)["method"]
    assert not torch.equal(
        raw["network.network.features.block1.1.running_mean"], best["network.network.features.block1.1.running_mean"]
    )


def test_frozen_features_keep_their_statistics(data: Any, tmp_path: Path) -> None:
    done = trained(data, tmp_path / "r", average="ema", freeze_features=True, views=1, epochs=1)
    raw, best = load_checkpoint(done.folder.last)["method"], load_checkpoint(done.folder.best)["method"]
    statistics = [name for name in raw if "running" in name or "num_batches" in name]
    assert statistics
    for name in statistics:
        assert torch.equal(raw[name], best[name]), name


@pytest.mark.parametrize("method", ["in_turns", "alternating", "remembering", "split"])
def test_steps_of_a_methods_own_are_rehearsed_without_a_trace(
    data: Any, tmp_path: Path, method: str, history: Any
) -> None:
    """What the method keeps is as without an average, and of several optimisers each is averaged by its own updates."""
    with other_methods.registered(
        *(getattr(other_methods, name) for name in ("InTurns", "Alternating", "Remembering", "Split"))
    ):
        plain = trained(data, tmp_path / "plain", method=method, epochs=2)
        history.clear()
        averaged = trained(data, tmp_path / "averaged", method=method, epochs=2, average="ema", average_decay=0.8)
        raw, with_average = (load_checkpoint(done.folder.last) for done in (plain, averaged))
        best = load_checkpoint(averaged.folder.best)
        loaded = load_model(averaged.folder.path)[0].state_dict()
    for name, value in raw["method"].items():
        if isinstance(value, Tensor):
            assert torch.equal(with_average["method"][name], value) or not value.isfinite().all(), name
        else:
            assert str(with_average["method"][name]) == str(value)
    state = with_average["engine"]["average"]["average"]
    for optimizer, count in state["updates"].items():
        own = [step for step in history if step["optimizer"] == optimizer]
        assert len(own) == count
        for name, value in state["means"][optimizer].items():
            torch.testing.assert_close(value.double(), slow.ema([step[name] for step in own], 0.8), msg=name)
    assert set(best["method"]) == set(loaded)


def test_an_average_begins_anew_with_a_phase(data: Any, tmp_path: Path, history: Any) -> None:
    with other_methods.registered(other_methods.TwoPhases):
        done = trained(data, tmp_path / "r", method="two_phases", average="ema", average_decay=0.9, epochs=4)
    half = len(history) // 2
    average = done.results.average
    assert average.first_step == half + 1
    same(
        load_checkpoint(done.folder.best)["method"],
        of_each(history[half : half + average.updates], lambda values: slow.ema(values, 0.9)),
    )


@pytest.mark.parametrize("average", ["ema", "swa", "swad"])
def test_a_run_goes_on_bit_for_bit_from_anywhere(
    data: Any, tmp_path: Path, average: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also in the middle of an epoch, and while the average is validated in the place of the weights."""
    interval = {"average_interval": 2, "average_patience": 1} if average == "swad" else {}
    settings = {"average": average, "epochs": 2, "checkpoint_every": 1e-9, "accumulate": 2, "batch": 8, **interval}
    whole = trained(data, tmp_path / "whole", **settings)
    save, places = RunState.save, []
    for stop in (4, 7):
        left = list(range(stop))

        def interrupted(self: RunState, progress: Progress, best: bool = False, left: list[int] = left) -> None:
            save(self, progress, best)
            if not left:
                places.append(progress.place)
                raise KeyboardInterrupt
            left.pop()

        out = tmp_path / str(stop)
        monkeypatch.setattr(RunState, "save", interrupted)
        with pytest.raises(KeyboardInterrupt):
            trained(data, out, **settings)
        monkeypatch.setattr(RunState, "save", save)
        done = run(generated.config(**settings), out, resume=True, dataset=data, reporter=Silent())
        assert done.folder.model.read_bytes() == whole.folder.model.read_bytes()
        assert done.results.average == whole.results.average
        assert [row["validation_accuracy"] for row in MetricsLog(done.folder.metrics).read()] == [
            row["validation_accuracy"] for row in MetricsLog(whole.folder.metrics).read()
        ]
    assert len(set(places)) == 2


class Scaler:
    """Makes its scale smaller, as after an infinite gradient."""

    def __init__(self) -> None:
        self.factor = 2.0

    def scale(self, loss: torch.Tensor) -> torch.Tensor:
        self.factor /= 2
        return loss * self.factor


def test_a_step_that_the_scaler_leaves_out_is_no_update(monkeypatch: pytest.MonkeyPatch) -> None:
    config = generated.config(average="swa", average_start=0)
    method = of(other_methods.Split)
    engine = TrainingEngine(launch(config), method, config, epochs=1, steps_per_epoch=3)

    def step(index: int) -> int:
        engine.begin(0, index)
        for parameter in method.parameters():
            parameter.grad = torch.ones_like(parameter)
        engine.update()
        return engine.average.summary()["updates"]

    assert step(0) == 1
    monkeypatch.setattr(engine.fabric.strategy.precision, "scaler", Scaler(), raising=False)
    assert step(1) == 1
    monkeypatch.undo()
    assert step(2) == 2


def test_no_epoch_before_its_start_ends_a_run_by_patience() -> None:
    plan, progress = PhasePlan((Phase(),), (0,), 6), Progress()
    config = generated.config(epochs=6, patience=1)
    for accuracy, choice in ((0.9, "never"), (0.8, "never"), (0.3, "best")):
        progress.finish_epoch(accuracy, plan, choice=choice)
        assert not progress.reason_to_stop(config)
    assert (progress.best_epoch, progress.best_accuracy) == (3, 0.3)
    progress.finish_epoch(0.2, plan)
    assert progress.reason_to_stop(config)
    progress.finish_epoch(0.1, plan, choice="newest")
    assert progress.best_epoch == 5


def test_a_run_that_time_ends_before_the_average_begins_says_so(data: Any, tmp_path: Path) -> None:
    settings = {"average": "swa", "average_start": 0.9, "epochs": 5, "max_time": "0.001s"}
    with pytest.raises(RunFolderError, match="average of the weights begins later"):
        trained(data, tmp_path / "r", **settings)
    config = generated.config(**settings | {"max_time": None})
    more = run(config, tmp_path / "r", resume=True, dataset=data, reporter=Silent())
    assert more.results.best_epoch == 5


def test_averages_are_said_and_kept_in_the_record(data: Any, tmp_path: Path) -> None:
    done = trained(data, tmp_path / "r", average="ema", fast=True)
    average = Results.read(done.folder.results).average
    assert average == AveragedWeights(kind="ema", updates=2, first_step=1, last_step=2, batch_norm_images=32)
    assert average.in_words() == (
        "an average (ema) over 2 updates, steps 1 to 2; statistics of batch norm of 32 training images"
    )
    assert "average" not in trained(data, tmp_path / "plain", fast=True).results.to_dict()


def test_another_run_starts_from_the_average(data: Any, tmp_path: Path) -> None:
    done = trained(data, tmp_path / "first", average="ema", epochs=1)
    settings = generated.config(init_from=str(done.folder.path), epochs=1, backbone=None, weights=None, size=None)
    method = Experiment(
        settings.model_copy(update={"backbone": "small", "weights": "none", "size": 16}),
        data,
        launch(settings),
        Silent(),
    ).method
    best = load_checkpoint(done.folder.best)["method"]
    for name, value in method.named_parameters():
        assert torch.equal(value, best[name]), name


def test_defaults_follow_the_length_of_the_training() -> None:
    config = generated.config(average="ema")
    assert [decay_of(config, steps) for steps in (2, 100, 10**6)] == [0.5, 0.9, 0.999]
    assert decay_of(generated.config(average="ema", average_decay=0.2), 100) == 0.2
    assert decay_of(generated.config(average="ema", accumulate=2), 200) == 0.9
    assert [interval_of(config, steps) for steps in (2, 5000)] == [1, 100]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"average_decay": 0.5}, "average_decay: only average ema uses it, and average is none"),
        ({"average": "ema", "average_start": 0.1}, "average_start: only average swa uses it, and average is ema"),
        ({"average": "swa", "average_interval": 5}, "average_interval: only average swad uses it"),
        ({"average": "swad", "patience": 2}, "patience: average swad has its own stopping rule"),
    ],
)
def test_settings_of_another_average_are_refused(settings: dict[str, Any], said: str) -> None:
    (line,) = contradictions(generated.config(**settings), other_methods.Split)
    assert line.startswith(said)


def test_a_method_without_steps_has_no_average() -> None:
    config = generated.config(average="swa", average_start=0.2)
    (line,) = contradictions(config, other_methods.NearestMean)
    assert line.startswith("average: method 'nearest_mean' is fitted in closed form")
    assert without_mask_settings(config, other_methods.NearestMean).average == "none"
    assert not contradictions(without_mask_settings(config, other_methods.NearestMean), other_methods.NearestMean)
    assert without_mask_settings(config, other_methods.Split).average == "swa"


@pytest.mark.slow
@pytest.mark.parametrize("average", ["ema", "swad"])
def test_several_processes_average_as_one_does(average: str, tmp_path: Path) -> None:
    tensors = []
    for devices in (1, 2):
        settings = f'{{"average": "{average}", "epochs": 2, "devices": {devices}, "optimizer": "sgd", "lr": 0.01}}'
        done = subprocess.run(
            [sys.executable, str(HERE / "several_processes.py"), str(tmp_path / str(devices)), "split", settings],
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(HERE.parent), *sys.path])},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        tensors.append(load_file(tmp_path / str(devices) / "model.safetensors"))
    for name, value in tensors[0].items():
        torch.testing.assert_close(tensors[1][name], value, atol=2e-5, rtol=1e-3, msg=name)
