"""One process and two, each with a part of every batch, learn and measure the same."""

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

from domain_masks.records.metrics_log import MetricsLog
from domain_masks.records.predictions import Predictions
from domain_masks.records.results import Results
from methods import contract_processes
from methods.contract_processes import CASES, FEW
from methods.expected import expected

TEST = "test_one_process_and_two_agree"


@pytest.fixture(scope="session")
def on_two_processes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder with a run of each case that is asked for; starting processes for each would take minutes."""
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


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    "name", [name if name in FEW else pytest.param(name, marks=pytest.mark.slow) for name in CASES]
)
def test_one_process_and_two_agree(name: str, on_two_processes: Path, tmp_path: Path) -> None:
    case, problem = CASES[name], on_two_processes / f"{name}.txt"
    assert not problem.exists(), problem.read_text(encoding="utf-8")
    contract_processes.trained(name, tmp_path / name)
    one, two = tmp_path / name, on_two_processes / name
    off = case.off or expected(case.method).off
    for here, there in zip(MetricsLog(one / "metrics.csv").read(), MetricsLog(two / "metrics.csv").read(), strict=True):
        assert set(here) == set(there)
        for column in here.keys() - {"seconds", "images_per_second"}:
            assert there[column] == pytest.approx(here[column], rel=10 * off, abs=off), column
    assert_same_results(one, two, equal=case.off is None)
    tensors = [load_file(place / "model.safetensors") for place in (one, two)]
    for key, value in tensors[0].items():
        torch.testing.assert_close(
            tensors[1][key], value, atol=off, rtol=10 * off, msg=lambda text, key=key: f"{key}: {text}"
        )


def assert_same_results(one: Path, two: Path, equal: bool) -> None:
    """Every image is measured once; where predictions are ``equal``, so is every accuracy, count and chosen epoch."""
    predictions = [Predictions.load(place / "predictions.npz") for place in (one, two)]
    np.testing.assert_array_equal(predictions[0].ids, predictions[1].ids)
    results: list[dict[str, Any]] = [
        Results.read(place / "results.json").model_dump(exclude={"seconds", "masks"}) for place in (one, two)
    ]
    metrics = [numbers(each.pop("metrics")) for each in results]
    assert results[0] == results[1] or not equal
    assert metrics[0].keys() == metrics[1].keys()
    if equal:
        # AUROC and calibration errors are made of the logits, which differ by rounding.
        assert metrics[0] == pytest.approx(metrics[1], abs=1e-3)


def numbers(part: Any, name: str = "") -> dict[str, float]:
    """Return every number in nested records by its path."""
    if isinstance(part, dict):
        return {path: value for key in part for path, value in numbers(part[key], f"{name}/{key}").items()}
    return {name: part} if isinstance(part, int | float) else {}
