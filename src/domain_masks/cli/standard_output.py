"""Standard output and error, also where they are closed, full or a broken pipe."""

from __future__ import annotations

import errno
import io
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from domain_masks.errors import DomainMasksError

if TYPE_CHECKING:
    import pandas as pd

_STANDARD = 3


class OutputError(DomainMasksError):
    """Standard output that cannot be written."""

    @classmethod
    def of(cls, error: OSError) -> OutputError:
        """Build the message; files that were written are not affected."""
        return cls(
            f"cannot write standard output: {error.strerror or error}. What was to be shown there is lost; files that were "
            "named as written are whole"
        )


class ClosedOutput(io.TextIOBase):
    """Replaces a standard output that the shell has closed (``>&-``): discards everything, and records whether it did.

    - ``lost``: whether anything was written
    """

    def __init__(self) -> None:
        self.lost = False

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The encoding of text."""
        return "utf-8"

    @property
    def buffer(self) -> _ClosedBytes:
        """The binary stream."""
        return _ClosedBytes()

    def writable(self) -> bool:
        """Return True: it accepts writes."""
        return True

    def write(self, text: str) -> int:
        """Discard a text."""
        self.lost = True
        return len(text)


class _ClosedBytes(io.RawIOBase):
    def writable(self) -> bool:
        return True

    def write(self, _content: Any) -> int:
        raise OSError(errno.EBADF, "it is closed")


def replace_closed() -> None:
    """Replace outputs that the shell has closed, and keep their file descriptors from being reused.

    Libraries write to the descriptors 1 and 2 whatever file has been opened under them.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) < _STANDARD:
        pass
    os.close(number)
    if sys.stdout is None:
        sys.stdout = ClosedOutput()
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115


def is_lost() -> bool:
    """Return whether something was written to a standard output that is closed."""
    return isinstance(sys.stdout, ClosedOutput) and sys.stdout.lost


def is_closed() -> bool:
    """Return whether the shell has closed standard output."""
    return isinstance(sys.stdout, ClosedOutput)


def flush() -> None:
    """Flush standard output; raises OutputError, or BrokenPipeError where the reader has closed it."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        let_go(sys.stdout)
        raise OutputError.of(error) from error


def write(text: str) -> None:
    """Write to standard output; raises OutputError, or BrokenPipeError where the reader has closed it."""
    try:
        sys.stdout.write(text)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError.of(error) from error


def say(line: str) -> None:
    """Print a result on standard output."""
    encoding = sys.stdout.encoding or "utf-8"
    # A terminal with another encoding shows a question mark instead of raising an error.
    write(line.encode(encoding, "replace").decode(encoding) + "\n")


def table_lines(table: pd.DataFrame, index: bool = True) -> list[str]:
    """Return a table as lines for a terminal, where Chinese, Japanese and Korean characters take two columns."""
    import pandas as pd  # noqa: PLC0415 - most commands show no table

    with pd.option_context("display.unicode.east_asian_width", True):
        return table.to_string(index=index).splitlines()


def let_go(stream: TextIO) -> None:
    """Redirect a broken stream to the null device, so that no error is printed when Python exits."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
