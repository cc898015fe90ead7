"""A quick check whether a file has changed, from parts of its content and not only from its times."""

from __future__ import annotations

import hashlib
import os
import time
from functools import lru_cache
from pathlib import Path
from typing import IO, Literal

SAMPLE = 4096
"""Bytes that are read at the start, in the middle and at the end of a file."""
_SETTLED = 2 * 10**9
"""Nanoseconds after which a further change must alter the times; the coarsest file systems have steps of two seconds."""


def content_hash(content: bytes) -> bytes:
    """Return the hash of a file's content, 16 bytes."""
    return hashlib.blake2b(content, digest_size=16).digest()


def digest_of_file(path: Path, kind: Literal["blake2b", "sha256"] = "blake2b") -> str:
    """Return the hash of a file's content in hexadecimal digits, cached in this process while the file's state is unchanged.

    ``blake2b`` has 16 bytes. Raises OSError where the file cannot be read.
    """
    state = settled_state_of(path)
    return _digest_in(path, kind, state) if state is not None else _digest_in.__wrapped__(path, kind, None)


@lru_cache(maxsize=256)
def _digest_in(path: Path, kind: str, _state: str | None) -> str:
    with path.open("rb") as file:
        digest = hashlib.sha256 if kind == "sha256" else (lambda: hashlib.blake2b(digest_size=16))
        return hashlib.file_digest(file, digest).hexdigest()


def state_of(path: Path | str) -> str | None:
    """Return the present state of a file, 16 hexadecimal digits; None where it cannot be read.

    Computed from size, both times of change, inode, and the bytes at its start, middle and end: tools that copy times
    (``cp -p``, ``touch -r``, ``rsync -t``) change at least one of them.
    """
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - half a million paths
            status = os.fstat(file.fileno())
            samples = [_sample(file, start) for start in _starts(status.st_size)]
    except (OSError, ValueError):
        return None
    return _digest(status, samples)


def settled_state_of(path: Path | str) -> str | None:
    """Return the state of a file as :func:`state_of` does; None where it changed too recently to notice a further change."""
    try:
        status = os.stat(path)  # noqa: PTH116 - as in state_of
    except (OSError, ValueError):
        return None
    return state_of(path) if _is_settled(status) else None


def read_with_state(path: Path | str) -> tuple[bytes, str | None]:
    """Return a file's content and its state; no state where it changed meanwhile, or too recently to notice a further change.

    Raises OSError where it cannot be read.
    """
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - half a million paths
        before = os.fstat(file.fileno())
        content = file.readall()
        after = os.fstat(file.fileno())
    times = ("st_size", "st_mtime_ns", "st_ctime_ns")
    is_same = all(getattr(before, name) == getattr(after, name) for name in times) and len(content) == before.st_size
    if not is_same or not _is_settled(before):
        return content, None
    return content, _digest(before, [content[start : start + SAMPLE] for start in _starts(len(content))])


def _is_settled(status: os.stat_result) -> bool:
    return time.time_ns() - max(status.st_mtime_ns, status.st_ctime_ns) >= _SETTLED


def _starts(size: int) -> tuple[int, int, int]:
    return 0, max(0, (size - SAMPLE) // 2), max(0, size - SAMPLE)


def _sample(file: IO[bytes], start: int) -> bytes:
    file.seek(start)
    return file.read(SAMPLE)


def _digest(status: os.stat_result, samples: list[bytes]) -> str:
    digest = hashlib.blake2b(digest_size=8)
    digest.update(f"{status.st_size}/{status.st_mtime_ns}/{status.st_ctime_ns}/{status.st_ino}/".encode())
    for sample in samples:
        digest.update(sample)
    return digest.hexdigest()
