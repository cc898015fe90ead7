"""Cached results of verification, so that only new and changed image files are read and decoded again."""

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

from domain_masks.data.decoding import Problem
from domain_masks.data.openers import FileOpener, Opener
from domain_masks.errors import RunFolderError
from domain_masks.records.cache import cache_folder
from domain_masks.records.files import write_whole

SCHEMA = 2
_SAVE_SECONDS = 20.0
_LOCK_SECONDS = 60.0
_SHARE_OF_TIME = 20


class Entry(NamedTuple):
    """The known content of an image, and whether it can be decoded.

    - ``state``: what it was read from when it had this content, see :mod:`domain_masks.records.file_state`; None where that
      has to be read again to tell
    - ``content``: the hash of its content, 32 hexadecimal digits
    - ``decoded``: whether this version of Pillow has tried to decode it, and ``problem``, why it failed
    """

    state: str | None
    content: str
    decoded: bool
    problem: Problem | None = None


class VerificationMemory:
    """The known contents of a dataset's images, and which can be decoded, by path below a folder or by table row.

    ``subject`` is that folder or, for images without files of their own, the dataset's fingerprint. The content of an entry
    is valid for one state of its file, the result of decoding for one content.
    The memory is a file per subject in the cache folder, shared between processes. A file that is damaged or of another
    schema counts as empty, and so do decoding results of another version of Pillow; where it cannot be written, nothing is
    remembered.
    """

    def __init__(self, subject: Path | str) -> None:
        self.subject = subject.resolve() if isinstance(subject, Path) else subject
        key = hashlib.blake2b(os.fsencode(self.subject), digest_size=16).hexdigest()
        self.path = cache_folder() / "verification" / f"{key}.json"
        self._known = self._read()
        self._new: dict[str, Entry] = {}
        self._saved = time.monotonic()
        self._pause = _SAVE_SECONDS

    def content_of(self, name: str, state: str | None) -> str | None:
        """Return the content that an image has in this state; None where it has to be read to tell."""
        entry = self._entry(name)
        return entry.content if entry is not None and state is not None and entry.state == state else None

    def was_decoded(self, name: str) -> bool:
        """Return whether an image of this name was decoded, with any content."""
        entry = self._entry(name)
        return entry is not None and entry.decoded

    def recall(self, name: str, content: str) -> tuple[bool, Problem | None]:
        """Return whether it is known if an image with this content can be decoded, and what is wrong with it."""
        entry = self._entry(name)
        if entry is None or entry.content != content or not entry.decoded:
            return False, None
        return True, entry.problem

    def note(self, name: str, entry: Entry) -> None:
        """Remember the result of reading an image, and save from time to time.

        Known results of decoding the same content are kept. Errors of the file system are not remembered: they can go
        away without a change of the file.
        """
        if entry.problem is not None and entry.problem.kind == "unopened":
            return
        before = self._entry(name)
        if before is not None and not entry.decoded and before.content == entry.content:
            entry = before._replace(state=entry.state)
        if entry == before:
            return
        self._new[name] = entry
        if time.monotonic() - self._saved > self._pause:
            self.save()

    def _entry(self, name: str) -> Entry | None:
        return self._new.get(name) or self._known.get(name)

    def save(self) -> None:
        """Add new entries to the file, keeping those that other processes have added meanwhile."""
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
        """Wait until no other process decodes the same images, then load its results; save at the end."""
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
            path: [entry.state, entry.content, entry.decoded, *(() if entry.problem is None else _plain(entry.problem))]
            for path, entry in self._known.items()
        }
        content = {"schema": SCHEMA, "decoder": _decoder(), "root": str(self.subject), "files": files}
        # Names that are no UTF-8 hold lone surrogates, which only pass through JSON as escapes.
        return json.dumps(content, separators=(",", ":"), ensure_ascii=True)

    def _read(self) -> dict[str, Entry]:
        try:
            content = json.loads(self.path.read_bytes())
            if content["schema"] != SCHEMA:
                return {}
            is_same_decoder = content["decoder"] == _decoder()
            entries = {}
            for path, (state, hashed, decoded, *problem) in content["files"].items():
                known = bool(decoded) and is_same_decoder
                entries[str(path)] = Entry(state, str(hashed), known, Problem(*problem) if problem and known else None)
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return {}
        return entries


def memory_of(open_image: Opener, ids: Sequence[str], fingerprint: str) -> tuple[VerificationMemory, Sequence[str]]:
    """Return the memory of a dataset's images, and each row's name in it."""
    if isinstance(open_image, FileOpener):
        return VerificationMemory(open_image.root), open_image.paths
    return VerificationMemory(fingerprint), ids


def _plain(problem: Problem) -> tuple[str, str]:
    return problem.kind, problem.reason


def _decoder() -> str:
    return f"Pillow {PIL.__version__}"
