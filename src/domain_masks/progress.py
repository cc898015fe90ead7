"""What a run says while it works: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

Item = TypeVar("Item")


class Reporter(Protocol):
    """Where a run's words go."""

    def say(self, line: str) -> None:
        """Show one line."""

    def track(self, items: Iterable[Item], total: int, what: str) -> Iterator[Item]:
        """Pass the items on and show how far it has come."""


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
