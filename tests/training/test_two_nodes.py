"""``dmg train`` on two nodes: as one process, in every way in which a node may end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from domain_masks.cli.main import main as dmg
from domain_masks.records.metrics_log import MetricsLog
from training import two_nodes


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("nodes")


@pytest.fixture(scope="module")
def outcomes(folder: Path) -> dict[str, dict[str, Any]]:
    """Return what came out of each way, from one process that has started all nodes."""
    tests = Path(two_nodes.__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tests), *filter(None, sys.path)])}
    done = subprocess.run(
        [sys.executable, two_nodes.__file__, str(folder)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return {outcome["way"]: outcome for outcome in map(json.loads, done.stdout.splitlines())}


pytestmark = [pytest.mark.slow, pytest.mark.timeout(1000)]


def test_they_train_as_one_process(outcomes: dict[str, Any], folder: Path) -> None:
    whole = outcomes["whole"]
    assert whole["statuses"] == [0, 0], whole
    assert "2 processes on 2 nodes, a cpu device each" in whole["said"][0]
    assert whole["said"][1] == ""
    assert whole["files"] == [], "only the first process writes"
    flags = two_nodes.flags(folder)
    assert dmg([*flags, "--quiet", "--out", str(folder / "one")]) == 0
    runs = (folder / "one", folder / "node-0" / "whole")
    losses = [[row["loss"] for row in MetricsLog(run / "metrics.csv").read()] for run in runs]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    one, two = (load_file(run / "model.safetensors") for run in runs)
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, atol=1e-3, rtol=1e-3, msg=name)


@pytest.mark.parametrize(("way", "killed"), [("killed", 1), ("first killed", 0)])
def test_a_killed_node_ends_the_other_and_both_resume(way: str, killed: int, outcomes: dict[str, Any]) -> None:
    outcome = outcomes[way]
    assert outcome["statuses"][killed] == -9
    assert outcome["statuses"][1 - killed] == 1, outcome
    said = outcome["said_first"][1 - killed]
    assert "another process of the run has ended" in said, said
    assert "--resume" in said
    assert "Traceback" not in said
    assert ("The last checkpoint is whole" in said) == (killed == 1), "the other node has no run folder"
    assert outcome["resumed"] == [0, 0], outcome
    assert outcome["model"] == outcomes["whole"]["model"]


def test_an_interrupted_node_interrupts_the_other(outcomes: dict[str, Any]) -> None:
    outcome = outcomes["interrupted"]
    assert set(outcome["statuses"]) <= {130, 143}, outcome
    first, second = outcome["said_first"]
    assert "last.ckpt is written" in first
    assert first.count("Resume with: dmg train --resume") == 1
    assert second == ""
    assert outcome["resumed"] == [0, 0], outcome
    assert outcome["model"] == outcomes["whole"]["model"]


@pytest.mark.parametrize(
    ("way", "message"),
    [
        ("other settings", "process 2 of the run was started with seed 1, the first one 0"),
        ("missing images", "nowhere"),
        ("folder is taken", "holds a finished run already"),
    ],
)
def test_a_mistake_on_one_node_is_said_once(way: str, message: str, outcomes: dict[str, Any]) -> None:
    outcome = outcomes[way]
    assert outcome["statuses"] == [2, 2], outcome
    assert message in outcome["said"][0]
    assert outcome["said"][0].count("dmg: ") == 1
    assert outcome["said"][1] == ""


def test_a_finished_run_is_nothing_to_do(outcomes: dict[str, Any]) -> None:
    outcome = outcomes["finished"]
    assert outcome["statuses"] == [0, 0], outcome
    assert "nothing to do" in outcome["said"][0]
