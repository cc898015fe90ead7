"""Long work of some processes while the others wait, for as long as it takes and no longer than its processes live."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar, cast

import torch
from lightning_fabric import Fabric
from torch.distributed.distributed_c10d import Store, _get_default_store

from domain_masks.errors import DomainMasksError, LostProcessError

_T = TypeVar("_T")

BEAT = 5.0
"""Seconds between two signs of life of a process that works."""
SILENCE = 120.0
"""Seconds without one after which a process counts as lost."""
_LOOK = 0.1
_NUMBERS = itertools.count()


def long_on_all(fabric: Fabric, work: Callable[[], _T]) -> _T:
    """Return what ``work`` returns on each process, once all have done it; see :func:`_once_done`."""
    return cast(_T, _once_done(fabric, True, work))


def long_on_main_process(fabric: Fabric, work: Callable[[], _T]) -> _T:
    """Return on all processes what ``work`` returns on the first one, for which they wait; see :func:`_once_done`."""
    result = _once_done(fabric, fabric.is_global_zero, work)
    return cast(_T, fabric.broadcast(result))


def long_on_each_node(fabric: Fabric, work: Callable[[], object]) -> None:
    """Work on the first process of each node while all wait; see :func:`_once_done`."""
    _once_done(fabric, fabric.local_rank == 0, work)


def _once_done(fabric: Fabric, works: bool, work: Callable[[], _T]) -> _T | None:
    """Return what ``work`` returns on the processes that work, and None on the others, once all have ended.

    All processes call it together. It is for work that may take longer than the limit within which a collective operation of
    the processes has to end, such as evaluating, decoding or computing features; ``work`` calls no such operation. Where it
    raises a DomainMasksError on one process, all raise it. Raises LostProcessError where a process gives no sign of life.
    """
    if fabric.world_size == 1:
        return work()
    store, place = _get_default_store(), f"work/{next(_NUMBERS)}"
    mine = f"{place}/{fabric.global_rank}"
    result, problem = None, None
    try:
        if works:
            with _signs_of_life(store, mine):
                result = work()
    except DomainMasksError as error:
        problem = error
    finally:
        # Also where something else was raised: the others then find in the next operation that this process has ended.
        store.set(f"{mine}/done", "1")
    for rank in range(fabric.world_size):
        _wait(store, f"{place}/{rank}", rank)
    raise_together(problem)
    return result


def raise_together(problem: DomainMasksError | None) -> None:
    """Raise on all processes the problem of the first one that has any; all of them call it together."""
    problems: list[DomainMasksError | None] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(problems, problem)
    if found := next((one for one in problems if one is not None), None):
        found.on_all_processes = True
        raise found


@contextmanager
def _signs_of_life(store: Store, name: str) -> Iterator[None]:
    ended = threading.Event()

    def beat() -> None:
        while not ended.is_set():
            store.add(f"{name}/beats", 1)
            ended.wait(BEAT)

    thread = threading.Thread(target=beat, name="signs of life", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _wait(store: Store, name: str, rank: int) -> None:
    """Wait until a process is done; raises LostProcessError where it gives no sign of life."""
    beats, since, pause = 0, time.monotonic(), _LOOK
    while not store.check([f"{name}/done"]):
        time.sleep(pause)
        pause = min(1.0, 1.5 * pause)
        if (now := store.add(f"{name}/beats", 0)) != beats:
            beats, since = now, time.monotonic()
        elif time.monotonic() - since > SILENCE:
            raise LostProcessError(f"process {rank + 1} of the run has given no sign of life for {SILENCE:.0f} s")
