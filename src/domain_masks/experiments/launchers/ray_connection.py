"""The connection to a Ray cluster, the division of its cores and GPUs, and many tasks of which some run at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from types import ModuleType
from typing import Any, TypeVar

from domain_masks.errors import InputError

RETRIES = 5
"""How often a task is started again whose node or process has been lost."""
_VARIABLES = ("DMG_CACHE", "DMG_DATA", "OMP_NUM_THREADS")

Item = TypeVar("Item")


@dataclass(frozen=True)
class Share:
    """The resources of one task on a cluster: cores, and GPUs or a fraction of one."""

    cores: int
    gpus: float

    def options(self, name: str) -> dict[str, Any]:
        """Return the options of a Ray task with these resources."""
        return {
            "num_cpus": self.cores,
            "num_gpus": self.gpus,
            "max_retries": RETRIES,
            "scheduling_strategy": "SPREAD",
            "name": name,
        }

    def __str__(self) -> str:
        return f"{self.cores} cores" + (f" and {self.gpus:g} GPU" if self.gpus else "")


@contextmanager
def connected(address: str) -> Iterator[ModuleType]:
    """Connect to a cluster within the block, and yield the module ``ray``.

    - ``address``: "auto", HOST:PORT, or "local" for a cluster that is started here and ends with the block

    Raises InputError where Ray is not installed, or no cluster answers.
    """
    ray = _ray()
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray removes repeated lines, but those of different runs are all needed.
    os.environ.setdefault("RAY_DEDUP_LOGS", "0")
    try:
        ray.init(
            address=None if address == "local" else address,
            include_dashboard=False if address == "local" else None,
            logging_level="error",
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise InputError(
            f"--ray_address {address}: no Ray cluster answers ({str(error).splitlines()[0]}). Expected HOST:PORT of "
            "one that `ray start --head` has started, auto on one of its nodes, or local to start one here"
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def share_of(ray: ModuleType, uses_gpus: bool, count: int | None) -> tuple[Share, int]:
    """Return the resources of one task on the cluster, and how many run at once; see :func:`shares`."""
    resources = [node["Resources"] for node in nodes(ray)]
    gpus = sum(node.get("GPU", 0.0) for node in resources) if uses_gpus else 0.0
    return shares([node.get("CPU", 0.0) for node in resources], gpus, count)


def shares(cores_of_nodes: Sequence[float], gpus: float, count: int | None) -> tuple[Share, int]:
    """Return the resources of one task on a cluster, and how many run at once.

    - ``cores_of_nodes``: of each node; those without cores, such as a head node, execute nothing
    - ``count``: most tasks at once, None for one per GPU, or per node where there is none
    """
    usable = [int(cores) for cores in cores_of_nodes if cores >= 1]
    if not usable:
        raise InputError("the Ray cluster offers no cores: expected nodes that were started with --num-cpus")
    most = count or int(gpus) or len(usable)
    cores = max(1, min(sum(usable) // most, *usable))
    return Share(cores, min(1.0, int(100 * gpus / most) / 100) if gpus else 0.0), most


def nodes(ray: ModuleType) -> list[dict[str, Any]]:
    """Return Ray's descriptions of the nodes that are alive."""
    return [node for node in ray.nodes() if node["Alive"]]


def forwarded_variables() -> dict[str, str]:
    """Return the environment variables of this process that its tasks need as well."""
    return {name: os.environ[name] for name in _VARIABLES if name in os.environ}


def as_they_end(
    ray: ModuleType, begin: Callable[[Item], Any], items: Iterable[Item], most: int, stopping: Callable[[int], None]
) -> Generator[tuple[Item, Any], None, None]:
    """Yield every item with the reference to its task's result, in the order in which they end, ``most`` at once.

    - ``begin``: starts the task of an item and returns the reference
    - ``items``: taken when their task can be started
    - ``stopping``: called with the number of running tasks before they are interrupted, which raises KeyboardInterrupt in
      them: on Ctrl-C, SIGTERM and errors, and where the generator is closed
    """
    running: dict[Any, Item] = {}
    rest = iter(items)
    try:
        while True:
            for item in islice(rest, most - len(running)):
                running[begin(item)] = item
            if not running:
                return
            for reference in ray.wait(list(running), num_returns=1)[0]:
                yield running.pop(reference), reference
    except BaseException:
        if running and ray.is_initialized():
            stopping(len(running))
            for reference in running:
                ray.cancel(reference, force=False)
            ray.wait(list(running), num_returns=len(running))
        raise


def _ray() -> ModuleType:
    try:
        import ray  # noqa: PLC0415
    except ImportError as error:
        raise InputError(
            "launcher: ray is not installed here: install it with `pip install 'domain-masks[ray]'`, or leave out --launcher"
        ) from error
    return ray
