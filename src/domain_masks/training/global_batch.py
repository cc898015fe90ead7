"""A training step of several processes that equals the step of one process with the whole batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from lightning_fabric import Fabric

from domain_masks.batch import DomainBatch
from domain_masks.records.config import RunConfig
from domain_masks.training.global_batch_norm import GlobalBatchNorm
from domain_masks.training.global_random import GlobalRandom


@contextmanager
def global_batch_step(fabric: Fabric, config: RunConfig, batch: DomainBatch) -> Iterator[set[str]]:
    """Use the random numbers and batch-norm statistics of the whole batch within the block.

    Yields the names of operations that drew separately on each process. Compiled networks cannot be followed: their layers
    draw separately on each process, which the run reports. Raises ValueError for a batch without random numbers.
    """
    random = batch.random
    if random is None:
        raise ValueError("expected training batches with random numbers of their own")
    uncut: set[str] = set()
    with ExitStack() as stack:
        if fabric.world_size == 1:
            stack.enter_context(random.seeded("layers", fabric.device))
        elif config.compile:
            stack.enter_context(random.seeded(f"layers/{random.first}", fabric.device))
        else:
            stack.enter_context(random.seeded("layers", fabric.device))
            if fabric.device.type == "cpu":
                stack.enter_context(GlobalBatchNorm(random, fabric.world_size))
            draws = stack.enter_context(GlobalRandom(batch, random))
            uncut = draws.uncut
        yield uncut


def gather_names(fabric: Fabric, names: set[str]) -> list[str]:
    """Return the names that any process has, sorted; all processes call it together."""
    if fabric.world_size == 1:
        return sorted(names)
    gathered: list[set[str]] = [set() for _ in range(fabric.world_size)]
    torch.distributed.all_gather_object(gathered, names)
    return sorted(set().union(*gathered))
