"""Many runs on a cluster with Ray: each is a task, which is retried on another node if its own is lost."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from domain_masks.cores import CORES_VARIABLE
from domain_masks.data import ImageDataset
from domain_masks.experiments.launchers.base import ForwardingReporter, Job, Outcome, execute, lost
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
class RayCluster:
    """The nodes of a Ray cluster, which run this package from the same environment and see the same folders.

    - ``address``: "auto", HOST:PORT, or "local" for a cluster that is started here and ends with the command
    - ``count``: most runs at once; None for one per GPU or, where no GPU is used, one per node
    - ``uses_gpus``: whether runs use the available GPUs

    A run whose node is lost is resumed from its last checkpoint on another one. Ctrl-C and SIGTERM end the runs, which save
    their state. Raises InputError where Ray is not installed, or no cluster answers.
    """

    address: str = "auto"
    count: int | None = None
    uses_gpus: bool = True

    def launch(self, jobs: Sequence[Job], dataset: ImageDataset, reporter: Reporter) -> Iterator[tuple[Job, Outcome]]:
        """Yield every job once, with its outcome, as it ends."""
        with connected(self.address) as ray:
            share, most = share_of(ray, self.uses_gpus, self.count)
            reporter.say(f"ray: {len(nodes(ray))} nodes, {most} runs at once with {share}")
            task = ray.remote(carry_out).options(**share.options("domain-masks-run"))
            images, variables = ray.put(dataset), forwarded_variables()

            def begin(job: Job) -> Any:
                reporter.say(job.title)
                return task.remote(job, images, share.cores, variables)

            def stopping(count: int) -> None:
                reporter.say(f"stopping: {count} run{'s save their' if count > 1 else ' saves its'} state")

            with closing(as_they_end(ray, begin, jobs, most, stopping)) as ended:
                for job, reference in ended:
                    yield job, _outcome(ray, reference, job)


def carry_out(job: Job, dataset: ImageDataset, threads: int, variables: dict[str, str]) -> Outcome:
    """Execute one run in a worker process of Ray, which forwards its output to the launching process."""
    import torch  # noqa: PLC0415

    os.environ.update(variables | {CORES_VARIABLE: str(threads)})
    torch.set_num_threads(threads)
    name = job.title.partition(" ")[2]
    with silent_libraries():
        return execute(job, dataset, ForwardingReporter(lambda text: _print(name, text)))


def _print(name: str, text: str) -> None:
    for line in text.splitlines():
        print(f"{name}: {line}", flush=True)


def _outcome(ray: ModuleType, reference: Any, job: Job) -> Outcome:
    try:
        outcome: Outcome = ray.get(reference)
    except ray.exceptions.RayError as error:
        first = (str(error).splitlines() or [""])[0]
        return lost(
            job, f"the run was lost more than {RETRIES} times, or stopped by Ray: {type(error).__name__}: {first}"
        )
    return outcome
