"""What ends a command from outside, and how it can go on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class Terminated(BaseException):
    """SIGTERM came."""


@contextmanager
def resumable(how: str) -> Iterator[None]:
    """Note on Ctrl-C and SIGTERM how the command in the block goes on; the entry point says it."""
    try:
        yield
    except (KeyboardInterrupt, Terminated) as end:
        end.add_note(how)
        raise
