"""The cache folder, and the locks of the processes that fill it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from domain_masks.errors import InputError

CACHE_VARIABLE = "DMG_CACHE"


def cache_folder() -> Path:
    """Return the folder of cached images, features and verifications: ``$DMG_CACHE``, or one in the user's cache folder."""
    chosen = os.environ.get(CACHE_VARIABLE)
    base = os.environ.get("XDG_CACHE_HOME")
    return Path(chosen) if chosen else (Path(base) if base else Path.home() / ".cache") / "domain-masks"


@contextmanager
def cache_lock(path: Path, what: str, on_wait: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold the lock beside ``path``; it is released with its process, however that ends.

    - ``what``: what is cached there, for the message
    - ``on_wait``: called where another process holds the lock

    Raises InputError where the folder of ``path`` is not writable.
    """
    import filelock  # noqa: PLC0415 - not needed for the folder alone

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(path.with_suffix(".lock"))
        try:
            lock.acquire(timeout=-1 if on_wait is None else 0)
        except filelock.Timeout:
            if on_wait is not None:
                on_wait()
            lock.acquire()
    except OSError as error:
        raise InputError(
            f"cannot keep {what} in {path.parent}: {error.strerror or error}. Set ${CACHE_VARIABLE} to a folder that can be "
            "written to"
        ) from error
    try:
        yield
    finally:
        lock.release()
