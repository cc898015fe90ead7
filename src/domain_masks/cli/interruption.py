"""Interruption of a command by a signal, and how to resume it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class Terminated(BaseException):
    """The process received SIGTERM."""


@contextmanager
def resumable(how: str) -> Iterator[None]:
    """Add to Ctrl-C and SIGTERM how the command in the block is resumed, which the entry point prints."""
    try:
        yield
    except (KeyboardInterrupt, Terminated) as end:
        end.add_note(how)
        raise
