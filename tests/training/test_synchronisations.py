"""On a GPU no training step makes the host wait for it."""

from __future__ import annotations

import warnings
from dataclasses import replace

import pytest
import torch

from domain_masks.batch import HostRows
from domain_masks.methods import METHODS
from domain_masks.records.config import RunConfig
from domain_masks.training.engine import TrainingEngine
from domain_masks.training.launching import launch
from methods import contract


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("average", ["none", "ema"])
@pytest.mark.parametrize("name", METHODS)
def test_no_step_synchronises(name: str, average: str) -> None:
    method = contract.built(name)
    if method.is_closed_form():
        pytest.skip("it has no steps")
    config = RunConfig(lr=1e-3, clip=1.0, device="cuda", average=average)
    fabric = launch(config)
    method = method.to(fabric.device).train()
    batches = contract.steps_of(method)
    engine = TrainingEngine(fabric, method, config, epochs=len(batches), steps_per_epoch=2)

    def step(epoch: int, index: int) -> None:
        host = HostRows(batches[epoch].labels, batches[epoch].domains)
        batch = replace(batches[epoch], host=host).to(fabric.device)
        engine.begin(epoch, index, len(batch))
        assert batch.random is not None
        with batch.random.seeded("layers", fabric.device):
            method.step(contract.learnable(method, batch), engine)

    for epoch in range(len(batches)):
        # The first step makes the optimisers' state, and cuDNN chooses its kernels.
        step(epoch, 0)
        torch.cuda.synchronize()
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                step(epoch, 1)
            finally:
                torch.cuda.set_sync_debug_mode("default")
        # The first use of the mode in a process warns of the mode itself, too.
        found = [one for one in seen if "called a synchronizing" in str(one.message)]
        assert [f"{one.filename}:{one.lineno}" for one in found] == []
        engine.finish_epoch()
