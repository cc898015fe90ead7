"""Prediction on a cluster with Ray: each shard of images is a task, which is retried on another node if its own is lost."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from domain_masks.cores import CORES_VARIABLE
from domain_masks.deploy.predicting.shards import Shard, ShardWork, compute_shard
from domain_masks.errors import DomainMasksError, InputError
from domain_masks.experiments.launchers.ray_connection import (
    RETRIES,
    as_they_end,
    connected,
    forwarded_variables,
    nodes,
    share_of,
)
from domain_masks.progress import Reporter, silent_libraries


@dataclass(frozen=True)
class RayShards:
    """The nodes of a Ray cluster, which run this package from the same environment and see the same folders.

    - ``address``, ``count``: as for :class:`~domain_masks.experiments.launchers.ray.RayCluster`
    - ``reporter``: says how the work is divided
    """

    address: str
    count: int | None
    reporter: Reporter

    def launch(self, work: ShardWork, pending: Iterable[Shard]) -> Iterator[Shard]:
        """Yield each shard when its file is written.

        Raises what a task raised of :class:`DomainMasksError`, and InputError for a shard that was lost too often.
        """
        with connected(self.address) as ray:
            share, most = share_of(ray, work.device != "cpu", self.count)
            self.reporter.say(f"ray: {len(nodes(ray))} nodes, {most} shards at once with {share}")
            task = ray.remote(carry_out_shard).options(**share.options("domain-masks-shard"))
            variables = forwarded_variables()

            def begin(shard: Shard) -> Any:
                return task.remote(work, shard, share.cores, variables)

            def stopping(count: int) -> None:
                self.reporter.say(f"stopping: {count} shard{'s are' if count > 1 else ' is'} left unfinished")

            with closing(as_they_end(ray, begin, pending, most, stopping)) as ended:
                for shard, reference in ended:
                    try:
                        problem: DomainMasksError | None = ray.get(reference)
                    except ray.exceptions.RayTaskError:  # a bug, which keeps its traceback
                        raise
                    except ray.exceptions.RayError as error:
                        first = (str(error).splitlines() or [""])[0]
                        raise InputError(
                            f"the shard {shard.file.name} was lost more than {RETRIES} times, or stopped by Ray "
                            f"({type(error).__name__}: {first}): check the memory of the nodes, or use fewer --jobs; "
                            "finished shards are kept, and the same command resumes"
                        ) from error
                    if problem is not None:
                        raise problem
                    yield shard


def carry_out_shard(work: ShardWork, shard: Shard, threads: int, variables: dict[str, str]) -> DomainMasksError | None:
    """Compute one shard in a worker process of Ray; returns the error that the user can fix, if there is one."""
    import torch  # noqa: PLC0415

    os.environ.update(variables | {CORES_VARIABLE: str(threads)})
    torch.set_num_threads(threads)
    try:
        with silent_libraries():
            compute_shard(work, shard)
    except DomainMasksError as error:
        return error
    return None
