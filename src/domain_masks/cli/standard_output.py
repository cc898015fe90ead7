"""Standard output and error that are closed, full, or read by nobody."""

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
        """Say why; what was written to files is as it should be."""
        return cls(
            f"cannot write standard output: {error.strerror or error}. What was to be shown there is lost; files that were "
            "named as written are whole"
        )


class ClosedOutput(io.TextIOBase):
    """Stands in for a standard output that the shell has closed (``>&-``): takes everything, and knows that it is lost.

    - ``lost``: whether anything was written
    """

    def __init__(self) -> None:
        self.lost = False

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """That of texts."""
        return "utf-8"

    @property
    def buffer(self) -> _ClosedBytes:
        """Where bytes go."""
        return _ClosedBytes()

    def writable(self) -> bool:
        """Return that one can write to it."""
        return True

    def write(self, text: str) -> int:
        """Lose a text."""
        self.lost = True
        return len(text)


class _ClosedBytes(io.RawIOBase):
    def writable(self) -> bool:
        return True

    def write(self, _content: Any) -> int:
        raise OSError(errno.EBADF, "it is closed")


def replace_closed() -> None:
    """Give Python something to write to where the shell has closed an output, and keep files from taking its number.

    Libraries write to the numbers 1 and 2 whatever has been opened under them.
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
    """Write what is still to be written on standard output; raises OutputError, or BrokenPipeError where nobody reads it."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        let_go(sys.stdout)
        raise OutputError.of(error) from error


def write(text: str) -> None:
    """Write on standard output; raises OutputError, or BrokenPipeError where nobody reads it."""
    try:
        sys.stdout.write(text)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError.of(error) from error


def say(line: str) -> None:
    """Print a result on standard output."""
    encoding = sys.stdout.encoding or "utf-8"
    # A terminal of another alphabet shows a question mark rather than an error.
    write(line.encode(encoding, "replace").decode(encoding) + "\n")


def table_lines(table: pd.DataFrame, index: bool = True) -> list[str]:
    """Return a table as lines for a terminal, where letters of Chinese, Japanese and Korean take two columns."""
    import pandas as pd  # noqa: PLC0415 - most commands show no table

    with pd.option_context("display.unicode.east_asian_width", True):
        return table.to_string(index=index).splitlines()


def let_go(stream: TextIO) -> None:
    """Point a stream that cannot be written to nowhere, so that nothing complains when Python ends."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
