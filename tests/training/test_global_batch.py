"""Several processes that share a batch draw, normalise and learn as one process with the whole batch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from domain_masks.training.global_batch_norm import normalised

HERE = Path(__file__).parent


def test_layers_draw_and_normalise_as_for_the_whole_batch(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(HERE / "sharing.py"), str(tmp_path)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(HERE.parent), *sys.path])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert {line["processes"] for line in lines} == {2, 3}
    for line in lines:
        if line["network"] == "part":
            continue
        assert line["uncut"] == [], line
        assert line["difference"] < 2e-5, line
    assert any(line["uncut"] for line in lines if line["network"] == "part")


@pytest.fixture
def one_process(tmp_path: Path) -> object:
    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("one_process")
def test_global_batch_norm_of_one_process_is_pytorchs_own_to_the_second_derivative() -> None:
    images = torch.randn(5, 3, 4, 4, requires_grad=True)
    weight, bias = torch.rand(3, requires_grad=True), torch.rand(3, requires_grad=True)
    running = [(torch.zeros(3), torch.ones(3)) for _ in range(2)]
    results = [
        normalised(images, running[0], (weight, bias), 0.3),
        torch.nn.functional.batch_norm(images, *running[1], weight, bias, training=True, momentum=0.3),
    ]
    torch.testing.assert_close(*results)
    torch.testing.assert_close(running[0], running[1])
    first = [torch.autograd.grad(r.tanh().sum(), [images, weight, bias], create_graph=True) for r in results]
    torch.testing.assert_close(*first, atol=1e-5, rtol=1e-4)
    second = [torch.autograd.grad(g[0].square().sum(), [images, weight]) for g in first]
    torch.testing.assert_close(*second, atol=1e-4, rtol=1e-3)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        normalised(torch.randn(1, 3), (None, None), (None, None))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_batch_norm_of_the_whole_batch_is_as_precise_as_its_images(dtype: torch.dtype) -> None:
    images = (torch.randn(8, 3, 5, 5, dtype=torch.float64) + 3).to(dtype)
    result = normalised(images, (None, None), (None, None))
    expected = torch.nn.functional.batch_norm(images.double(), None, None, training=True)
    assert result.dtype == dtype
    torch.testing.assert_close(result, expected.to(dtype))
