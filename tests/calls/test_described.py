"""Signatures and docstrings show every setting, and type checkers know it."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import domain_masks as dm
from domain_masks.records.config import RunConfig
from domain_masks.settings.export import ExportSettings

SOURCE = Path(dm.__file__).parents[1]


def test_the_signature_has_every_setting_with_its_type_and_default() -> None:
    parameters = inspect.signature(dm.train).parameters
    assert set(RunConfig.model_fields) | {"out", "resume", "overwrite", "config", "quiet"} <= set(parameters)
    assert all(parameter.kind is inspect.Parameter.KEYWORD_ONLY for parameter in parameters.values())
    assert parameters["epochs"].default is None
    assert parameters["method"].default == "dmg"
    assert "momentum: float = 0.9" in str(inspect.signature(dm.train))
    assert list(inspect.signature(dm.export).parameters)[:2] == ["model", "quiet"]
    assert "runs" in inspect.signature(dm.report).parameters


def test_help_has_the_text_of_every_setting() -> None:
    for call, fields in ((dm.train, RunConfig.model_fields), (dm.export, ExportSettings.model_fields)):
        documented = inspect.getdoc(call) or ""
        for name in fields:
            assert f"``{name}``: " in documented
        assert "--" not in documented.partition("Settings:")[2]


GOOD = """
import domain_masks as dm
run = dm.train(dataset="digits", target=["ink"], method={"name": "dmg"}, epochs=1, max_time="90s")
run.metrics.shape
model = dm.load(run)
dm.predict(model, ["a.jpg"], top=3).to_pandas()
dm.analyze(run)[0].analysis.notes
dm.report(run, gallery=False).page
dm.report.build_report
dm.benchmark(methods=["dmg"], seeds=[0, 1], sweep={"lr": [1e-3, 1e-4]}).summary
dm.evaluate(run, ensemble="masks").accuracies
dm.export(run, format="pt2")
dm.push(run, "owner/name", public=True).url
dm.train(callbacks=lambda epoch: epoch.metrics["loss"] < 0.1)
"""
BAD = {
    "dm.train(epoch=1)": 'Unexpected keyword argument "epoch"',
    'dm.train(epochs="1")': 'incompatible type "str"',
    'dm.export("runs/x", format="tf")': "incompatible type",
    "dm.push(run, 'owner/name', private=True)": 'Unexpected keyword argument "private"',
    "dm.trian()": "has no attribute",
    "dm.report.nothing": "has no attribute",
}


@pytest.mark.slow
def test_a_type_checker_knows_every_setting(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(GOOD + "\n".join(BAD) + "\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", f"--cache-dir={tmp_path}", "--follow-imports=silent", str(script)],
        capture_output=True,
        text=True,
        check=False,
        env={"MYPYPATH": str(SOURCE), "PATH": ""},
        timeout=280,
    )
    first = len(GOOD.splitlines())
    found = {line.split(":")[1]: line for line in done.stdout.splitlines() if ": error:" in line}
    assert set(found) == {str(first + 1 + place) for place in range(len(BAD))}, done.stdout
    for place, message in enumerate(BAD.values()):
        assert message in found[str(first + 1 + place)]
