"""What is known of picture files, so that only new and changed ones are decoded again."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import filelock
import PIL

from domain_masks.data.decoding import Problem
from domain_masks.errors import RunFolderError
from domain_masks.records.cache import cache_folder
from domain_masks.records.files import write_whole

SCHEMA = 1
_SAVE_SECONDS = 20.0
_LOCK_SECONDS = 60.0
_SHARE_OF_TIME = 20


class FileState(NamedTuple):
    """Size in bytes and time of change in nanoseconds of a file."""

    size: int
    changed: int


class VerificationMemory:
    """Which files below ``root`` could be decoded, by their path, size and time of change.

    It lies in the cache folder, one file for each root, and is shared between processes. One that is damaged, of a
    newer schema or of another version of Pillow counts as empty; where it cannot be written, nothing is remembered.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        key = hashlib.blake2b(os.fsencode(self.root), digest_size=16).hexdigest()
        self.path = cache_folder() / "verification" / f"{key}.json"
        self._known = self._read()
        self._new: dict[str, tuple[FileState, Problem | None]] = {}
        self._saved = time.monotonic()
        self._pause = _SAVE_SECONDS

    def state_of(self, path: str) -> FileState | None:
        """Return the present state of a file, None where there is none."""
        try:
            found = (self.root / path).stat()
        except (OSError, ValueError):
            return None
        return FileState(found.st_size, found.st_mtime_ns)

    def recall(self, path: str, state: FileState | None) -> tuple[bool, Problem | None]:
        """Return whether the file is known in this state, and what is wrong with it."""
        entry = self._known.get(path)
        if entry is None or entry[0] != state:
            return False, None
        return True, entry[1]

    def note(self, path: str, state: FileState | None, problem: Problem | None) -> None:
        """Remember what decoding gave, and save from time to time.

        ``state`` is that from before the decoding. What the file system refused is not remembered: it can change
        without a trace in size and time.
        """
        if state is None or (problem is not None and problem.kind == "unopened"):
            return
        self._new[path] = (state, problem)
        if time.monotonic() - self._saved > self._pause:
            self.save()

    def save(self) -> None:
        """Add what is new to the file, beside what other processes have added meanwhile."""
        if not self._new:
            return
        began = time.monotonic()
        with suppress(OSError, RunFolderError, filelock.Timeout, NotImplementedError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with filelock.FileLock(self.path.with_suffix(".lock"), timeout=_LOCK_SECONDS):
                self._known = {**self._read(), **self._new}
                write_whole(self.path, self._as_text())
            self._new = {}
        self._saved = time.monotonic()
        self._pause = max(_SAVE_SECONDS, _SHARE_OF_TIME * (self._saved - began))

    @contextmanager
    def alone(self, on_wait: Callable[[], None]) -> Iterator[None]:
        """Wait until no other process decodes the files of this root, then know what it found out; save at the end."""
        lock = filelock.FileLock(self.path.with_suffix(".busy"))
        with suppress(OSError, NotImplementedError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire(timeout=0)
            except filelock.Timeout:
                on_wait()
                lock.acquire()
        try:
            self._known = self._read()
            yield
        finally:
            self.save()
            lock.release()

    def _as_text(self) -> str:
        files = {
            path: [*state, *([] if problem is None else [problem.kind, problem.reason])]
            for path, (state, problem) in self._known.items()
        }
        content = {"schema": SCHEMA, "decoder": _decoder(), "root": str(self.root), "files": files}
        # Names that are no UTF-8 hold lone surrogates, which only pass through JSON as escapes.
        return json.dumps(content, separators=(",", ":"), ensure_ascii=True)

    def _read(self) -> dict[str, tuple[FileState, Problem | None]]:
        try:
            content = json.loads(self.path.read_bytes())
            if content["schema"] != SCHEMA or content["decoder"] != _decoder():
                return {}
            return {
                str(path): (FileState(int(size), int(changed)), Problem(*problem) if problem else None)
                for path, (size, changed, *problem) in content["files"].items()
            }
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return {}


def _decoder() -> str:
    return f"Pillow {PIL.__version__}"
