"""Memory that a step has freed: kept for the next one, not given back to the operating system in between.

glibc gives every large block back as soon as it is freed. The next step asks for the same blocks again, and the system has
to zero each of their pages first, which can take longer than computing with them.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
"""Parameters of glibc's ``mallopt``."""
_OWN = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_", "GLIBC_TUNABLES")
"""Environment variables by which a user sets these parameters."""
_AFTERWARDS = {_TRIM_THRESHOLD: 64 * 2**20, _MMAP_MAX: 65536}
"""The default, and for the threshold the most that glibc itself raises it to: it no longer does once it has been set."""


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Keep freed memory within the block, and give it back after it.

    Does nothing where the C library is not glibc, and where the environment sets parameters of its own.
    """
    library = _glibc()
    if library is None or any(name in os.environ for name in _OWN):
        yield
        return
    library.mallopt(_TRIM_THRESHOLD, -1)
    library.mallopt(_MMAP_MAX, 0)
    try:
        yield
    finally:
        for parameter, value in _AFTERWARDS.items():
            library.mallopt(parameter, value)
        library.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    confstr: Callable[[str], str | None] | None = getattr(os, "confstr", None)
    try:
        if confstr is None or not (confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc"):
            return None
        library = ctypes.CDLL(None)
        library.mallopt.argtypes, library.malloc_trim.argtypes = (ctypes.c_int, ctypes.c_int), (ctypes.c_size_t,)
    except (ValueError, OSError, TypeError, AttributeError):
        return None
    return library
