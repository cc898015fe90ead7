"""``dmg evaluate``: the accuracies of a run under every ensemble."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from domain_masks.cli import main

FAST = ["--fast", "--device", "cpu"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_evaluate_under_an_ensemble(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *FAST, "--quiet", "--out", "run"]) == 0
    before = Path("run/results.json").read_text()
    shown = capsys.readouterr().out
    assert main(["evaluate", "run", "--quiet", "--ensemble", "masks"]) == 0
    out = capsys.readouterr().out
    assert "ensemble      masks" in out
    masks = next(line for line in shown.splitlines() if "by ensemble" in line).split("masks ")[1].split()[0]
    assert f"{masks} %" in next(line for line in out.splitlines() if line.startswith("out of domain"))
    assert main(["evaluate", "run", "--quiet", "--ensemble", "known:ink"]) == 0
    assert "in domain" in capsys.readouterr().out
    assert json_without_seconds(before) == json_without_seconds(Path("run/results.json").read_text())
    for ensemble, words in {
        "known:mosaic": ["held out", "known:ink, known:paper, known:outline"],
        "mask": ["Did you mean 'masks'?"],
        "known:inc": ["Did you mean 'known:ink'?"],
    }.items():
        assert main(["evaluate", "run", "--ensemble", ensemble]) == 2
        message = capsys.readouterr().err
        assert all(word in message for word in words), message
    assert main(["evaluate", "run", "--verbose", "--ensemble", "weighted"]) == 0
    shown = capsys.readouterr().out
    assert "ensemble      weighted" in shown
    assert "images whose nearest source, by the domain classifier, is theirs)" in shown
    assert main(["train", *FAST, "--quiet", "--out", "bare", "--no_domain_classifier"]) == 0
    assert "weighted" not in capsys.readouterr().out
    assert main(["evaluate", "bare", "--quiet"]) == 0
    assert "weighted" not in capsys.readouterr().out
    assert main(["evaluate", "bare", "--quiet", "--ensemble", "weighted"]) == 0
    assert "out of domain" in capsys.readouterr().out
    assert main(["train", *FAST, "--quiet", "--out", "plain", "--method", "aggregate"]) == 0
    assert main(["evaluate", "plain", "--ensemble", "weighted"]) == 2
    assert "the run's method has none" in capsys.readouterr().err
    assert main(["evaluate", "plain", "--ensemble", "masks"]) == 2
    assert "the run's method has none, expected one of predictions" in capsys.readouterr().err


def test_a_run_is_calibrated_and_no_longer(capsys: pytest.CaptureFixture[str]) -> None:
    quick = [
        "--method",
        "aggregate",
        "--freeze_features",
        "--epochs",
        "3",
        "--lr",
        "0.01",
        "--device",
        "cpu",
        "--quiet",
    ]
    assert main(["train", *quick, "--out", "run"]) == 0
    assert main(["evaluate", "run", "--quiet", "--calibrate"]) == 0
    out = capsys.readouterr().out
    results = results_of("run")
    fitted = results["temperatures"]["predictions"]
    assert f"temperature   {fitted['value']:.4g}, fitted on {fitted['images']} source validation images" in out
    measured = results["metrics"]["out_of_domain"]
    assert f"macro F1 {100 * measured['macro_f1']:.2f}  top-5 {100 * measured['top_5']:.2f}" in out
    assert f"ECE with temperature {100 * measured['calibrated_error']:.2f}" in out
    assert main(["evaluate", "run", "--quiet", "--no_calibrate"]) == 0
    assert "temperature" not in capsys.readouterr().out
    assert "temperatures" not in results_of("run")


def results_of(folder: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((Path(folder) / "results.json").read_text())
    return content


def json_without_seconds(text: str) -> dict[str, Any]:
    return {name: value for name, value in json.loads(text).items() if name != "seconds"}
