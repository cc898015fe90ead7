"""Threads that each compute a few items at a time, with the results in the order of the items."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

Given = TypeVar("Given")
Computed = TypeVar("Computed")

_AHEAD = 2


def in_threads(compute: Callable[[Given], Computed], items: Iterable[Given], count: int) -> Iterator[Computed]:
    """Yield ``compute(item)`` for every item, in order, computed in ``count`` threads; in this thread for 0.

    PyTorch's own threads are divided among these: two threads that each compute their own batch on one core keep both busy,
    while two that share every operation of one batch wait for one another after each. Items are taken in this thread, two
    ahead per computing thread. An exception is raised where the result of its item would be.
    """
    # The default type belongs to all threads: where another one has to be replaced, computing in several would race.
    if not count or torch.get_default_dtype() != torch.float32:
        yield from map(compute, items)
        return
    own = torch.get_num_threads()
    share = max(1, own // count)

    def alone(item: Given) -> Computed:
        torch.set_num_threads(share)
        return compute(item)

    pool = ThreadPoolExecutor(count, thread_name_prefix="domain-masks-computing")
    waiting: deque[Future[Computed]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(alone, item))
            if len(waiting) > _AHEAD * count:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        # PyTorch applies the number per thread, but threads that are started later take the one that was set last.
        torch.set_num_threads(own)
