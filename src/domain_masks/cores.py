"""The processor cores that this process may use."""

from __future__ import annotations

import os

CORES_VARIABLE = "DMG_CORES"
"""Environment variable with the cores of a process that shares them with others, as the runs of ``dmg benchmark --jobs`` do."""


def cores() -> int:
    """Return how many cores this process may use, 1 or more: those that the system gives it, at most ``DMG_CORES``."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    share = os.environ.get(CORES_VARIABLE, "")
    return min(allowed, int(share)) if share.isdecimal() and int(share) else allowed
