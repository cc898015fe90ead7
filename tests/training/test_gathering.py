"""Losses that are no mean over rows: their gradients are those of one process, however many share the batch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from domain_masks.batch import DomainBatch
from methods.contract import toy_batch

HERE = Path(__file__).parent


def test_gradients_of_gathered_losses_do_not_depend_on_the_number_of_processes(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(HERE / "gathering.py"), str(tmp_path)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(HERE.parent), *sys.path])},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    # Each of 2 and of 3 processes, for each of the losses.
    assert len(lines) == (2 + 3) * 5
    for line in lines:
        assert line["largest"] > 1e-3, line
        assert line["difference"] < 1e-10, line


def test_one_process_gathers_its_own_tensor() -> None:
    batch = toy_batch(6)
    rows = torch.randn(6, 2)
    assert batch.gather(rows) is rows
    outside = DomainBatch(None, None, None, torch.arange(2))
    assert outside.gather(rows) is rows


@pytest.mark.parametrize("shape", [(), (5,), (7, 2)])
def test_a_row_for_each_of_the_batch_is_expected(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected a row for each of the 6 of the batch, got shape"):
        toy_batch(6).gather(torch.zeros(shape))
