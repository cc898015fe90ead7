"""Loggers of a run: continued where it is resumed, left out where they fail, and refused before it where they cannot work."""

from __future__ import annotations

import builtins
import json
import os
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

import generated
from domain_masks.errors import InputError
from domain_masks.records import RunFolder
from domain_masks.records.config import parse_config
from domain_masks.records.metrics_log import MetricsLog
from domain_masks.training import run, run_logs
from domain_masks.training.run_logs import LoggedRun, RunLogs, check_services
from reporters import RecordingReporter


class Server:
    """A service in memory, as a module of ``SERVICES``."""

    def __init__(self) -> None:
        self.started: list[LoggedRun] = []
        self.rows: list[tuple[int, dict[str, float]]] = []
        self.results: dict[str, float] = {}
        self.closed: list[bool] = []
        self.broken_from = 10**9

    def check(self) -> None:
        pass

    def start(self, run_there: LoggedRun) -> Any:
        self.started.append(run_there)
        return types.SimpleNamespace(
            identity=run_there.known or f"run-{len(self.started)}",
            add=self.add,
            finish=self.results.update,
            close=self.closed.append,
        )

    def add(self, numbers: dict[str, float], epoch: int) -> None:
        if epoch >= self.broken_from:
            raise ConnectionError("the network is down\nmore")
        self.rows.append((epoch, numbers))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    made = Server()
    monkeypatch.setattr(run_logs, "_module_of", lambda _name: made)
    return made


def trained(out: Path, reporter: RecordingReporter, **settings: Any) -> RunFolder:
    config = generated.config(logger=["wandb"], **settings)
    resume = settings.pop("resume", False)
    return run(config, out, dataset=generated.dataset(8), reporter=reporter, resume=resume).folder


def test_a_run_is_logged_with_its_settings_metrics_and_results(server: Server, tmp_path: Path) -> None:
    lines = RecordingReporter()
    folder = trained(tmp_path / "benchmark" / "dmg-0", lines, epochs=2)
    (started,) = server.started
    assert (started.name, started.group, started.known) == ("dmg-0", "benchmark", None)
    assert started.config["lr"] == 3e-3
    assert json.dumps(started.config), "plain values"
    written = MetricsLog(folder.metrics).read()
    assert [epoch for epoch, _ in server.rows] == [1, 2]
    for (_, numbers), row in zip(server.rows, written, strict=True):
        assert set(numbers) == set(row) - {"epoch"}
        assert numbers["loss"] == pytest.approx(row["loss"])
    results = json.loads(folder.results.read_text())
    assert server.results["result/out_of_domain"] == pytest.approx(results["out_of_domain"]["accuracy"])
    assert server.results["result/out_of_domain/stripes"] == server.results["result/out_of_domain"]
    assert server.closed == [False]
    assert not folder.tensorboard.exists(), "only what is named"
    assert json.loads(folder.logged_runs.read_text()) == {"wandb": "run-1"}


def test_a_resumed_run_continues_the_same_one(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from domain_masks.training.engine import TrainingEngine  # noqa: PLC0415

    finish = TrainingEngine.finish_epoch

    def interrupted(engine: TrainingEngine) -> None:
        if engine.epoch == 1 and len(server.started) == 1:
            raise KeyboardInterrupt
        finish(engine)

    monkeypatch.setattr(TrainingEngine, "finish_epoch", interrupted)
    settings, out = {"epochs": 3, "logger": ["wandb", "none"][:1]}, tmp_path / "run"
    config = generated.config(**settings)
    with pytest.raises(KeyboardInterrupt):
        run(config, out, dataset=generated.dataset(8), reporter=RecordingReporter())
    assert server.closed == [True]
    run(config, out, resume=True, dataset=generated.dataset(8), reporter=RecordingReporter())
    assert [one.known for one in server.started] == [None, "run-1"]
    assert [epoch for epoch, _ in server.rows] == [1, 2, 3]
    assert server.closed == [True, False]
    run(config, out, overwrite=True, dataset=generated.dataset(8), reporter=RecordingReporter())
    assert server.started[-1].known is None


def test_a_logger_that_is_added_later_gets_the_epochs_before(server: Server) -> None:
    logs = RunLogs({"wandb": server.start(LoggedRun(Path(), "a", "b", {}, None))}, ["wandb"], RecordingReporter())
    logs.catch_up([{"epoch": 1, "loss": 2.0, "why": "text"}, {"epoch": 2, "loss": 1.0}])
    assert server.rows == [(1, {"loss": 2.0}), (2, {"loss": 1.0})]
    known = RunLogs({"wandb": server.start(LoggedRun(Path(), "a", "b", {}, "x"))}, [], RecordingReporter())
    known.catch_up([{"epoch": 1, "loss": 2.0}])
    assert len(server.rows) == 2


def test_a_logger_that_fails_is_said_once_and_the_run_goes_on(server: Server, tmp_path: Path) -> None:
    server.broken_from = 2
    lines = RecordingReporter()
    folder = trained(tmp_path / "run", lines, epochs=3)
    assert folder.is_finished
    assert [line for line in lines.lines if "no more logs" in line] == [
        "no more logs at Weights & Biases (ConnectionError: the network is down): the run continues without them"
    ]
    assert [epoch for epoch, _ in server.rows] == [1]


def test_a_logger_that_cannot_start_is_left_out(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "start", lambda _run: 1 / 0)
    lines = RecordingReporter()
    assert trained(tmp_path / "run", lines, epochs=1).is_finished
    assert sum("no more logs" in line for line in lines.lines) == 1


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_library_that_is_missing_is_named_before_anything_is_written(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = builtins.__import__

    def without(module: str, *others: Any, **more: Any) -> Any:
        if module == name:
            raise ImportError(f"No module named {module!r}")
        return original(module, *others, **more)

    monkeypatch.setattr(run_logs.importlib, "import_module", without)
    config = generated.config(logger=[name], epochs=1)
    with pytest.raises(InputError, match=rf"logger: '{name}' needs a library.*pip install 'domain-masks\[{name}\]'"):
        run(config, tmp_path / "run", dataset=generated.dataset(8), reporter=RecordingReporter())
    assert not (tmp_path / "run").exists()


def test_loggers_change_no_run_and_are_named_once() -> None:
    from domain_masks.experiments.run_index import key_of  # noqa: PLC0415
    from domain_masks.methods.settings import with_settings  # noqa: PLC0415

    keys = {
        key_of(with_settings(generated.config(logger=chosen)), ())
        for chosen in (["tensorboard"], ["wandb", "mlflow"], "none", "wandb,tensorboard")
    }
    assert len(keys) == 1
    assert parse_config({"logger": "wandb,mlflow"}).logger == ("wandb", "mlflow")
    for wrong in (["none", "wandb"], ["wandb", "wandb"], ["comet"]):
        with pytest.raises(InputError, match="logger"):
            parse_config({"logger": wrong})


OFFLINE = """
import sys
from pathlib import Path
from domain_masks.training.run_logs import LoggedRun, _module_of
name, folder, known = sys.argv[1], Path(sys.argv[2]), sys.argv[3] or None
module = _module_of(name)
module.check()
run = module.start(LoggedRun(folder, "n", "g", {"lr": 0.1, "target": ["a"]}, known))
for epoch in (1, 2):
    run.add({"loss": 1.0 / epoch, "validation_accuracy/a b;c": 0.5}, epoch)
run.finish({"result/out_of_domain": 0.25})
run.close(False)
print(run.identity)
"""


def offline(name: str, folder: Path, known: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """Log a run with the real library, in a process of its own, which it may leave threads and servers in."""
    without = {key: value for key, value in os.environ.items() if not key.startswith(("WANDB", "MLFLOW"))}
    return subprocess.run(
        [sys.executable, "-c", OFFLINE, name, str(folder), known],
        env={**without, "HOME": str(folder), "PYTHONPATH": os.pathsep.join(sys.path), **environment},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.mark.slow
def test_weights_and_biases_offline(tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    first = offline("wandb", tmp_path, WANDB_MODE="offline")
    assert first.returncode == 0, first.stderr
    identity = first.stdout.strip()
    again = offline("wandb", tmp_path, identity, WANDB_MODE="offline")
    assert again.stdout.strip() == identity
    files = list(tmp_path.glob(f"wandb/offline-run-*-{identity}/run-{identity}.wandb"))
    assert files
    assert b"validation_accuracy/a b;c" in b"".join(file.read_bytes() for file in files)
    refused = offline("wandb", tmp_path, WANDB_BASE_URL="http://127.0.0.1:9")
    assert refused.returncode == 1
    assert "InputError: logger: no login at Weights & Biases: expected `wandb login`" in refused.stderr


@pytest.mark.slow
def test_mlflow_in_a_folder(tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    store = {"MLFLOW_TRACKING_URI": (tmp_path / "mlruns").as_uri(), "MLFLOW_ALLOW_FILE_STORE": "true"}
    first = offline("mlflow", tmp_path, **store)
    assert first.returncode == 0, first.stderr
    identity = first.stdout.strip()
    (folder,) = tmp_path.glob(f"mlruns/*/{identity}")
    assert [line.split()[1:] for line in (folder / "metrics/loss").read_text().splitlines()] == [
        ["1.0", "1"],
        ["0.5", "2"],
    ]
    assert (folder / "metrics/validation_accuracy/a b_c").is_file()
    assert (folder / "params/lr").read_text() == "0.1"
    assert (folder / "tags/group").read_text() == "g"
    assert not list((folder / "artifacts").iterdir())
    again = offline("mlflow", tmp_path, identity, **store)
    assert again.stdout.strip() == identity
    refused = offline("mlflow", tmp_path, MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    assert "InputError: logger: MLflow cannot use its store" in refused.stderr


def test_nothing_is_imported_without_loggers(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("wandb", "mlflow"):
        monkeypatch.setitem(sys.modules, name, None)  # importing it would raise
    check_services(generated.config())
    with pytest.raises(InputError):
        check_services(generated.config(logger=["wandb"]))
