"""One process and two, each with a part of every batch, learn the same."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from domain_masks.methods import METHODS
from domain_masks.records.metrics_log import MetricsLog
from methods import contract_processes
from methods.contract_runs import trained
from methods.expected import expected

TEST = "test_one_process_and_two_agree"


@pytest.fixture(scope="session")
def on_two_processes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder with a run of each method that is asked for; starting processes for each would take minutes."""
    folder = tmp_path_factory.mktemp("two")
    asked = [item for item in request.session.items if getattr(item, "originalname", "") == TEST]
    names = [item.callspec.params["name"] for item in asked]  # type: ignore[attr-defined]
    tests = Path(contract_processes.__file__).parents[1]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(tests), *filter(None, sys.path)]),
    }
    command = [sys.executable, contract_processes.__file__, str(folder), *names]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1500, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", [name for name in METHODS if not METHODS[name].is_closed_form()])
def test_one_process_and_two_agree(name: str, on_two_processes: Path, tmp_path: Path) -> None:
    problem = on_two_processes / f"{name}.txt"
    assert not problem.exists(), problem.read_text(encoding="utf-8")
    trained(name, tmp_path / name, **contract_processes.SETTINGS)
    places = (tmp_path / name, on_two_processes / name)
    losses = [[row["loss"] for row in MetricsLog(place / "metrics.csv").read()] for place in places]
    off = expected(name).off
    assert losses[1] == pytest.approx(losses[0], rel=10 * off)
    tensors = [load_file(place / "model.safetensors") for place in places]
    for key, value in tensors[0].items():
        torch.testing.assert_close(tensors[1][key], value, atol=off, rtol=10 * off, msg=key)
