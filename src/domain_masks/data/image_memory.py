"""Decoded images in memory alone: files of a file system that lies there, which go with the last process that uses them.

All processes of a machine share them, as they share files. Every user of a folder holds a lock on a file beside it, which the
system releases however a process ends; who ends last removes the folder. What killed processes leave behind is removed
by the next one that keeps images in memory.
"""

from __future__ import annotations

import os
import shutil
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from domain_masks.data.stored_images import StoredImages
from domain_masks.errors import InputError

SHARED_MEMORY = Path("/dev/shm")
_IN_USE, _KEPT = ".in-use", "kept-by-"
_MEMORY = Path("/proc/meminfo")


def memory_folder() -> Path:
    """Return the folder for images in memory, of this user alone.

    Raises InputError where the system has no file system in memory.
    """
    folder = SHARED_MEMORY / f"domain-masks-{os.getuid() if hasattr(os, 'getuid') else 0}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        is_own = not folder.is_symlink() and folder.stat().st_uid == os.getuid()
    except (OSError, AttributeError):
        is_own = False
    if not is_own:
        raise InputError(
            f"--cache memory: expected a folder of your own in {SHARED_MEMORY}, a file system in memory, got none: use "
            "--cache disk, whose files stay in memory where there is room"
        )
    return folder


def free_memory() -> int:
    """Return how many bytes of images the memory has room for: as its file system and the system say, whichever is less."""
    free = shutil.disk_usage(SHARED_MEMORY).free
    with suppress(OSError, ValueError):
        for line in _MEMORY.read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name == "MemAvailable":
                free = min(free, int(value.split()[0]) * 1024)
    return free


@contextmanager
def images_stay_in_memory() -> Iterator[None]:
    """Let images in memory stay there between the runs of the block, even where no process uses them for a while."""
    try:
        root = memory_folder()
    except InputError:  # said by the runs themselves
        yield
        return
    path = root / f"{_KEPT}{os.getpid()}"
    descriptor = _locked(path, exclusively=True)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        if descriptor is not None:
            os.close(descriptor)
        remove_unused(root)


class ImageUse:
    """A use of the images in a folder, from now on until :meth:`end`, or until the process ends."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process = os.getpid()
        self._descriptor = _locked(folder.with_suffix(_IN_USE), exclusively=False, wait=True)

    def last_as_long_as(self, stored: StoredImages) -> None:
        """End where nothing in this process refers to the images any more."""
        weakref.finalize(stored, self.end)

    def end(self) -> None:
        """Remove the images unless other processes use them, or keep them for later."""
        # Not from a copy in a process that was forked from the one whose use it is.
        if self._descriptor is not None and self._process == os.getpid():
            _end(self._folder, self._descriptor)
            self._descriptor = None


def remove_unused(root: Path) -> None:
    """Remove all images in memory that no process uses; nothing while a process keeps them for later."""
    for path in root.glob(f"*{_IN_USE}"):
        if (descriptor := _locked(path, exclusively=True)) is not None:
            _end(path.with_suffix(""), descriptor)


def _end(folder: Path, descriptor: int) -> None:
    """Close the locked file of a folder in use; with the folder, where nobody else uses or keeps it."""
    try:
        # By this descriptor, whose lock its copies in worker processes share.
        if not _are_kept(folder.parent) and _lock(descriptor, exclusively=True):
            shutil.rmtree(folder, ignore_errors=True)
            folder.with_suffix(_IN_USE).unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def _are_kept(root: Path) -> bool:
    """Return whether a process keeps images for later; what killed ones have left of that is removed."""
    for path in root.glob(f"{_KEPT}*"):
        if (descriptor := _locked(path, exclusively=False)) is None:
            return True
        path.unlink(missing_ok=True)
        os.close(descriptor)
    return False


def _locked(path: Path, exclusively: bool, wait: bool = False) -> int | None:
    """Return a file, made if missing, that is opened and locked until it is closed; None where others' locks forbid it."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if not _lock(descriptor, exclusively, wait):
            os.close(descriptor)
            return None
        try:
            if os.fstat(descriptor).st_ino == path.stat().st_ino:
                return descriptor
        except FileNotFoundError:
            pass
        # Removed by the one whose lock was waited for.
        os.close(descriptor)


def _lock(descriptor: int, exclusively: bool, wait: bool = False) -> bool:
    import fcntl  # noqa: PLC0415 - not on every system, as file systems in memory are not

    kind = fcntl.LOCK_EX if exclusively else fcntl.LOCK_SH
    try:
        fcntl.flock(descriptor, kind if wait else kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
