"""What is known of picture files, so that only new and changed ones are decoded again."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import filelock
import PIL
from PIL import Image

from domain_masks.data.dataset import FileOpener, is_in_memory
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


_ROW = FileState(0, 0)


class VerificationMemory:
    """Which pictures could be decoded: the files below a folder, by their path, size and time of change, or a table's rows.

    ``subject`` is that folder or, for pictures that are no files of their own, the dataset's fingerprint: its rows are
    known by their ids, and are other ones where the fingerprint is another one.
    It lies in the cache folder, one file for each subject, and is shared between processes. One that is damaged, of a
    newer schema or of another version of Pillow counts as empty; where it cannot be written, nothing is remembered.
    """

    def __init__(self, subject: Path | str) -> None:
        self.subject = subject.resolve() if isinstance(subject, Path) else subject
        key = hashlib.blake2b(os.fsencode(self.subject), digest_size=16).hexdigest()
        self.path = cache_folder() / "verification" / f"{key}.json"
        self._known = self._read()
        self._new: dict[str, tuple[FileState, Problem | None]] = {}
        self._saved = time.monotonic()
        self._pause = _SAVE_SECONDS

    def state_of(self, path: str) -> FileState | None:
        """Return the present state of a file, None where there is none; a table's row has always the same."""
        if not isinstance(self.subject, Path):
            return _ROW
        try:
            found = (self.subject / path).stat()
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
        """Wait until no other process decodes the same pictures, then know what it found out; save at the end."""
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
        content = {"schema": SCHEMA, "decoder": _decoder(), "root": str(self.subject), "files": files}
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


def memory_of(
    open_image: Callable[[int], Image.Image], ids: Sequence[str], fingerprint: str
) -> tuple[VerificationMemory, Sequence[str]] | None:
    """Return what is known of a dataset's pictures, and each row's name in it; None for pictures in memory."""
    if isinstance(open_image, FileOpener):
        return VerificationMemory(open_image.root), open_image.paths
    return None if is_in_memory(open_image) else (VerificationMemory(fingerprint), ids)


def _decoder() -> str:
    return f"Pillow {PIL.__version__}"
