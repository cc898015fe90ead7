"""Files of schema 2, in which images were called images, mean the same as ever: runs are done, resumed, measured, used."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import generated
from domain_masks.deploy import load
from domain_masks.experiments import leave_one_out
from domain_masks.records import Analysis, Results, RunFolder
from domain_masks.records.collection import collect
from domain_masks.report.report_builder import build_report
from domain_masks.training import evaluate, run

SCHEMA_2 = Path(__file__).parent / "schema_2"
"""A benchmark of dmg, analysed and with its weights, and aggregate; and a run that stopped after two of four epochs."""
EXPECTED = json.loads((SCHEMA_2 / "expected.json").read_text())
DMG = Path("benchmark", "dmg", "stripes", "seed-0")
SGD = {"optimizer": "sgd", "momentum": 0.0}


class Silent:
    def say(self, line: str) -> None: ...

    def track(self, items: Any, total: int, what: str) -> Any:
        yield from items


@pytest.fixture
def files(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SCHEMA_2, tmp_path / "files"))


def test_its_runs_are_done(files: Path) -> None:
    base = generated.config(epochs=3, target=None, lr_masks=0.1, **SGD)
    plan = leave_one_out(base, generated.dataset(8), ["dmg", "aggregate"], ["stripes"], [0], files / "benchmark")
    assert {planned.name: planned.key for planned in plan} == EXPECTED["keys"]
    assert {planned.state for planned in plan} == {"done"}


def test_a_run_that_stopped_is_resumed(files: Path) -> None:
    before = (files / "begun" / "metrics.csv").read_text()
    resumed = run(
        generated.config(epochs=4, **SGD), files / "begun", dataset=generated.dataset(8), reporter=Silent(), resume=True
    )
    assert resumed.folder.metrics.read_text().startswith(before)
    with resumed.folder.metrics.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [float(row["loss"]) for row in rows] == pytest.approx(
        [float(loss) for loss in EXPECTED["whole"]["loss"]], rel=1e-3
    )


def test_a_finished_run_is_measured_again(files: Path) -> None:
    before = Results.read(files / DMG / "results.json")
    after = evaluate(files / DMG, Silent(), dataset=generated.dataset(8)).results
    assert after.out_of_domain == before.out_of_domain
    assert after.in_domain == before.in_domain
    assert after.best_epoch == before.best_epoch


def test_its_model_predicts_the_same(files: Path) -> None:
    data = generated.dataset(8)
    logits = load(files / DMG).logits([data.open_image(row) for row in (0, 30, 60)])
    assert set(logits) == set(EXPECTED["logits"])
    for name, values in EXPECTED["logits"].items():
        torch.testing.assert_close(logits[name], torch.tensor(values), rtol=1e-3, atol=1e-4)


def test_its_analysis_is_read(files: Path) -> None:
    path = RunFolder(files / DMG).analysis
    content = json.loads(path.read_text())
    found = Analysis.read(path)
    assert found.ablation is not None
    assert found.sites is not None
    assert content["calibration"]["stripes"]["pictures"] == found.calibration["stripes"].images == 24
    found.write(path)
    assert Analysis.read(path) == found


def test_a_report_of_it(files: Path) -> None:
    report = build_report(collect([files / "benchmark"]))
    (runs,) = [table for table in report.tables if table.name == "runs"]
    assert sorted(runs.frame["method"]) == ["aggregate", "dmg"]
