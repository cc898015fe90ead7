"""The processor cores that this process may use."""

from __future__ import annotations

import os

from domain_masks.errors import InputError

CORES_VARIABLE = "DMG_CORES"
"""Environment variable with the cores of a process that shares them with others, as the runs of ``dmg benchmark --jobs`` do."""
_MOST_READERS = 8


def cores() -> int:
    """Return how many cores this process may use, 1 or more: those that the system gives it, at most ``DMG_CORES``.

    Raises InputError where this is not a number of cores.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    share = os.environ.get(CORES_VARIABLE, "")
    if not share:
        return allowed
    if not share.isdecimal() or int(share) < 1:
        raise InputError(f"${CORES_VARIABLE}: expected a number of cores, 1 or more, got {share!r}")
    return min(allowed, int(share))


def usual_readers(devices: int = 1) -> int:
    """Return how many processes read images where no number is given, for each of ``devices`` training processes."""
    return min(_MOST_READERS, cores() // max(1, devices))
