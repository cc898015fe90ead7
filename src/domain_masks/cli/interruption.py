"""What ends a command from outside, and how it can be resumed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class Terminated(BaseException):
    """SIGTERM came."""


@contextmanager
def resumable(how: str) -> Iterator[None]:
    """Note on Ctrl-C and SIGTERM how the command in the block is resumed; the entry point prints it."""
    try:
        yield
    except (KeyboardInterrupt, Terminated) as end:
        end.add_note(how)
        raise
