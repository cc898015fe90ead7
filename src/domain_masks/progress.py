"""What a run says while it works: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol, TypeVar

from rich.console import Console
from rich.filesize import decimal
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

Item = TypeVar("Item")


class Reporter(Protocol):
    """Where a run's words go."""

    def say(self, line: str) -> None:
        """Show one line."""

    def track(self, items: Iterable[Item], total: int, what: str) -> Iterator[Item]:
        """Pass the items on and show how far it has come."""

    def measure(self, what: str, total: int | None) -> AbstractContextManager[Callable[[int], None]]:
        """Give a function that is told, again and again, how many bytes there are by now (``total`` in bytes)."""


class ConsoleReporter:
    """Lines and bars on standard error, so that standard output holds results alone.

    ``quiet`` shows nothing.
    """

    def __init__(self, quiet: bool = False) -> None:
        self.console = Console(file=sys.stderr, quiet=quiet, highlight=False, soft_wrap=True)

    def say(self, line: str) -> None:
        """Show one line."""
        self.console.print(line, markup=False)

    def track(self, items: Iterable[Item], total: int, what: str) -> Iterator[Item]:
        """Pass the items on; shows a bar that vanishes at the end where the output is a terminal."""
        if not self.console.is_terminal or self.console.quiet:
            yield from items
            return
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self.console, transient=True) as progress:
            task = progress.add_task(what, total=total)
            for item in items:
                yield item
                progress.advance(task)

    @contextmanager
    def measure(self, what: str, total: int | None) -> Iterator[Callable[[int], None]]:
        """Give a function that shows how many bytes there are by now.

        A bar that vanishes at the end where the output is a terminal; elsewhere a line now and then.
        """
        if not self.console.is_terminal or self.console.quiet:
            yield _Lines(self.say, what, total)
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self.console, transient=True) as progress:
            task = progress.add_task(what, total=total)
            yield lambda done: progress.update(task, completed=done)


class _Lines:
    """Says how many bytes there are, at most every ``_SECONDS``, so that a log of hours stays short."""

    _SECONDS = 30.0

    def __init__(self, say: Callable[[str], None], what: str, total: int | None) -> None:
        self.say, self.what, self.total = say, what, total
        self.last = time.monotonic()

    def __call__(self, done: int) -> None:
        if time.monotonic() - self.last < self._SECONDS:
            return
        self.last = time.monotonic()
        self.say(f"{self.what}: {decimal(done)}" + (f" of {decimal(self.total)}" if self.total else ""))
