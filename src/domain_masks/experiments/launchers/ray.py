"""Many runs on a cluster with Ray: each is a task, which is retried on another node if its own is lost."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from domain_masks.data import ImageDataset
from domain_masks.errors import InputError
from domain_masks.experiments.launchers.base import ForwardingReporter, Job, Outcome, execute, lost
from domain_masks.progress import Reporter, silent_libraries

RETRIES = 5
"""How often a run is restarted or resumed whose node or process has been lost."""
_VARIABLES = ("DMG_CACHE", "DMG_DATA", "OMP_NUM_THREADS")


@dataclass(frozen=True)
class Share:
    """The resources of one run on a cluster: cores, and GPUs or a fraction of one."""

    cores: int
    gpus: float


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
        ray = _ray()
        self._connect(ray)
        running: dict[Any, Job] = {}
        try:
            share, most = self._share(ray)
            reporter.say(
                f"ray: {len(_nodes(ray))} nodes, {most} runs at once with {share.cores} cores"
                + (f" and {share.gpus:g} GPU" if share.gpus else "")
            )
            task = ray.remote(carry_out).options(
                num_cpus=share.cores,
                num_gpus=share.gpus,
                max_retries=RETRIES,
                scheduling_strategy="SPREAD",
                name="domain-masks-run",
            )
            images = ray.put(dataset)
            variables = {name: os.environ[name] for name in _VARIABLES if name in os.environ}
            waiting = deque(jobs)
            while waiting or running:
                while waiting and len(running) < most:
                    job = waiting.popleft()
                    reporter.say(job.title)
                    running[task.remote(job, images, share.cores, variables)] = job
                for reference in ray.wait(list(running), num_returns=1)[0]:
                    job = running.pop(reference)
                    yield job, _outcome(ray, reference, job)
        except BaseException:
            _end(ray, running, reporter)
            raise
        finally:
            ray.shutdown()

    def _connect(self, ray: ModuleType) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        # Ray removes repeated lines, but those of different runs are all needed.
        os.environ.setdefault("RAY_DEDUP_LOGS", "0")
        try:
            ray.init(
                address=None if self.address == "local" else self.address,
                include_dashboard=False if self.address == "local" else None,
                logging_level="error",
            )
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise InputError(
                f"--ray_address {self.address}: no Ray cluster answers ({str(error).splitlines()[0]}). Expected HOST:PORT of "
                "one that `ray start --head` has started, auto on one of its nodes, or local to start one here"
            ) from error

    def _share(self, ray: ModuleType) -> tuple[Share, int]:
        """Return the resources of one run, and how many run at once."""
        nodes = [node["Resources"] for node in _nodes(ray)]
        gpus = sum(node.get("GPU", 0.0) for node in nodes) if self.uses_gpus else 0.0
        return shares([node.get("CPU", 0.0) for node in nodes], gpus, self.count)


def shares(cores_of_nodes: Sequence[float], gpus: float, count: int | None) -> tuple[Share, int]:
    """Return the resources of one run on a cluster, and how many run at once.

    - ``cores_of_nodes``: of each node; those without cores, such as a head node, execute nothing
    - ``count``: most runs at once, None for one per GPU, or per node where there is none
    """
    usable = [int(cores) for cores in cores_of_nodes if cores >= 1]
    if not usable:
        raise InputError("the Ray cluster offers no cores: expected nodes that were started with --num-cpus")
    most = count or int(gpus) or len(usable)
    cores = max(1, min(sum(usable) // most, *usable))
    return Share(cores, min(1.0, int(100 * gpus / most) / 100) if gpus else 0.0), most


def carry_out(job: Job, dataset: ImageDataset, threads: int, variables: dict[str, str]) -> Outcome:
    """Execute one run in a worker process of Ray, which forwards its output to the launching process."""
    import torch  # noqa: PLC0415

    os.environ.update(variables)
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


def _end(ray: ModuleType, running: dict[Any, Job], reporter: Reporter) -> None:
    """Ask the running tasks to save their state and end."""
    if not running or not ray.is_initialized():
        return
    reporter.say(f"stopping: {len(running)} run{'s save their' if len(running) > 1 else ' saves its'} state")
    for reference in running:
        # Raises KeyboardInterrupt in the task.
        ray.cancel(reference, force=False)
    ray.wait(list(running), num_returns=len(running))


def _nodes(ray: ModuleType) -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]


def _ray() -> ModuleType:
    try:
        import ray  # noqa: PLC0415
    except ImportError as error:
        raise InputError(
            "launcher: ray is not installed here: install it with `pip install 'domain-masks[ray]'`, or leave out --launcher"
        ) from error
    return ray
