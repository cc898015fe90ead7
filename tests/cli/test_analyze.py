"""``dmg analyze`` as a user calls it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from domain_masks.cli import main

FAST = ["--fast", "--device", "cpu", "--quiet"]


@pytest.fixture(autouse=True)
def undrawn(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the drawings, which take longer than everything else together, but for one test."""
    if request.node.name != "test_one_run":
        monkeypatch.setattr("domain_masks.report.write.run_figures.run_figures", lambda run, analysis: iter(()))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    assert main(["train", *FAST, "--out", str(out)]) == 0
    return out


@pytest.fixture
def runs(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained, tmp_path / "runs" / "deep" / "one")
    return tmp_path / "runs"


def test_one_run(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["analyze", "runs/deep/one", "--images", "20", "--device", "cpu", "--quiet"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    for word in ("only ink", "mosaic (held out)", "IoU", "nearest", "zeroed", "calibration"):
        assert word in captured.out
    content = json.loads((runs / "deep" / "one" / "analysis.json").read_text())
    assert sum(content["ablation"]["images"].values()) == 20
    assert set(content["mask_by_domain_splits"]) == {"ink", "paper", "outline", "mosaic"}


def test_every_run_below_a_folder_and_what_cannot_be_is_named(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(runs / "deep" / "one", runs / "two")
    (shutil.copytree(runs / "deep" / "one", runs / "half") / "results.json").write_text("{")
    (shutil.copytree(runs / "deep" / "one", runs / "bad") / "predictions.npz").write_text("")
    (shutil.copytree(runs / "deep" / "one", runs / "begun") / "results.json").unlink()
    capsys.readouterr()
    assert main(["analyze", "runs", "runs/two", "--no_images"]) == 1
    captured = capsys.readouterr()
    assert captured.out.count("held out mosaic, seed 0") == 2
    for name, reason in (("half", "malformed"), ("bad", "predictions.npz"), ("begun", "not finished")):
        assert any(name in line and reason in line for line in captured.err.splitlines())
    assert {path.parent.name for path in runs.rglob("analysis.json")} == {"one", "two"}


def test_runs_that_are_not_finished_are_no_failure(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (shutil.copytree(runs / "deep" / "one", runs / "begun") / "results.json").unlink()
    assert main(["analyze", "runs", "--no_images"]) == 0
    assert "begun is left out: it is not finished" in capsys.readouterr().err


def test_a_run_whose_dataset_is_elsewhere(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = runs / "deep" / "one" / "config.yaml"
    config.write_text(config.read_text().replace("dataset: digits", "dataset: ./gone"))
    assert main(["analyze", "runs/deep/one", "--quiet"]) == 0
    assert "gone" in capsys.readouterr().out
    Path("where.yaml").write_text("dataset: digits\n")
    for where in (["--dataset", "digits"], ["--config", "where.yaml"]):
        assert main(["analyze", "runs/deep/one", "--images", "20", "--quiet", *where]) == 0
        assert "zeroed" in capsys.readouterr().out
