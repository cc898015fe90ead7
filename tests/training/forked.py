"""A function in several processes at once, each a fork of this one."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable


def in_processes(count: int, work: Callable[[int], None]) -> None:
    """Call ``work`` with each rank below ``count`` in a process of its own; raises SystemExit where one of them fails."""
    children = []
    for rank in range(count):
        if (child := os.fork()) == 0:
            status = 1
            try:
                work(rank)
                status = 0
            finally:
                sys.stdout.flush()
                os._exit(status)
        children.append(child)
    if any(os.waitpid(child, 0)[1] for child in children):
        raise SystemExit("a process failed")
