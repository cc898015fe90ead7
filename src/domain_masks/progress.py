"""Progress of a run: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import io
import logging
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol, TextIO, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

Item = TypeVar("Item")

LONG = 10.0
"""Seconds after which a stage in a plain log reports its progress, at the next tenth."""
SILENT = 30.0
"""Seconds after which it reports in any case."""


class Reporter(Protocol):
    """Where the messages and progress of a run go."""

    def say(self, line: str) -> None:
        """Print one line."""

    def track(self, items: Iterable[Item], total: int | None, what: str) -> Iterator[Item]:
        """Yield the items and show the progress; ``total`` is None where their number is unknown."""

    def measure(self, what: str, total: int | None) -> AbstractContextManager[Callable[[int], None]]:
        """Yield a function that takes the number of bytes so far, of ``total`` bytes."""


class ConsoleReporter:
    """Lines and bars on standard error, so that standard output holds results alone.

    On a terminal, and in a notebook that has ipywidgets, there are bars, which are removed at their end. Elsewhere, and where
    ``TERM`` is ``dumb``, there are only lines: a long stage reports its progress occasionally, and no control character is
    written whatever the environment asks for. ``quiet`` prints nothing. A closed pipe does not stop the run.

    - ``clock``: seconds, for tests
    """

    def __init__(self, quiet: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        from rich.console import Console  # noqa: PLC0415 - not needed for help and lists

        self._stream: TextIO | None = None if quiet else sys.stderr
        self._clock = clock
        self._progress: Progress | None = None
        self._tasks: list[TaskID] = []
        self._widgets: list[Any] = []
        self._note = ""
        self.console = Console(file=self._stream or io.StringIO(), highlight=False, soft_wrap=True, markup=False)

    @property
    def shows_bars(self) -> bool:
        """Whether the output is a terminal that can overwrite a line, or a notebook that can show a bar."""
        try:
            is_terminal = self._stream is not None and self._stream.isatty()
        except ValueError:  # closed
            return False
        if self.console.is_jupyter:
            return self._stream is not None and find_spec("ipywidgets") is not None
        return is_terminal and not self.console.is_dumb_terminal

    def say(self, line: str) -> None:
        """Show one line."""
        if self._stream is None:
            return
        if self._progress is not None:
            self.console.print(line)
            return
        try:
            encoding = self._stream.encoding or "utf-8"
            self._stream.write(line.encode(encoding, "replace").decode(encoding) + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            self._let_go()

    def note(self, text: str) -> None:
        """Show a text beside the progress of the stage that runs: beside its bar, or in its occasional lines."""
        self._note = text
        if self._progress is not None and self._tasks:
            self._progress.update(self._tasks[-1], note=text)
        if self._widgets:
            self._widgets[-1].set_postfix_str(text, refresh=False)

    def track(self, items: Iterable[Item], total: int | None, what: str) -> Iterator[Item]:
        """Yield the items, with a bar that is removed at the end, or occasional lines."""
        if self._stream is None:
            yield from items
        elif self.shows_bars and self.console.is_jupyter:
            yield from self._with_widget(items, total, what)
        elif self.shows_bars:
            yield from self._with_bar(items, total, what)
        else:
            yield from self._with_lines(items, total, what)

    def _with_bar(self, items: Iterable[Item], total: int | None, what: str) -> Iterator[Item]:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415
        from rich.table import Column  # noqa: PLC0415

        # One display for nested stages, as a terminal has only one last line.
        outermost = self._progress is None
        if self._progress is None:
            note = TextColumn(
                "{task.fields[note]}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis")
            )
            bar = BarColumn(bar_width=None, table_column=Column(min_width=8, max_width=40, ratio=1))
            columns = (TextColumn("{task.description}"), bar, MofNCompleteColumn(), TimeRemainingColumn(), note)
            self._progress = Progress(*columns, console=self.console, transient=True)
            self._progress.start()
        progress = self._progress
        task: TaskID = progress.add_task(what, total=total, note="")
        self._tasks.append(task)
        try:
            for item in items:
                yield item
                progress.advance(task)
        finally:
            self._tasks.remove(task)
            progress.remove_task(task)
            if outermost:
                self._progress = None
                with suppress(OSError):
                    progress.stop()

    def _with_widget(self, items: Iterable[Item], total: int | None, what: str) -> Iterator[Item]:
        # Rich would leave an empty output behind each of its bars in a notebook.
        from tqdm.notebook import tqdm  # noqa: PLC0415

        with tqdm(total=total, desc=what, leave=False) as bar:
            self._widgets.append(bar)
            try:
                for item in items:
                    yield item
                    bar.update()
            finally:
                self._widgets.remove(bar)

    def _with_lines(self, items: Iterable[Item], total: int | None, what: str) -> Iterator[Item]:
        last, tenths = self._clock(), 0
        self._note = ""
        for count, item in enumerate(items, start=1):
            yield item
            now, reached = self._clock(), 0 if total is None else 10 * count // max(1, total)
            waited = now - last
            is_last = total is not None and count >= total
            if not is_last and ((waited >= LONG and reached > tenths) or waited >= SILENT):
                done = f"{count:,} so far" if total is None else f"{100 * count // total} %"
                self.say(f"{what}: {done}{f', {self._note}' if self._note else ''}")
                last, tenths = now, reached

    @contextmanager
    def measure(self, what: str, total: int | None) -> Iterator[Callable[[int], None]]:
        """Yield a function that shows the number of bytes so far.

        On a terminal with a bar that is removed at the end; elsewhere with occasional lines.
        """
        if not self.shows_bars:
            yield _Lines(self.say, what, total, self._clock)
            return
        if self.console.is_jupyter:
            from tqdm.notebook import tqdm  # noqa: PLC0415

            with tqdm(total=total, desc=what, unit="B", unit_scale=True, leave=False) as bar:
                yield lambda done: bar.update(done - bar.n) and None
            return

        from rich import progress as bars  # noqa: PLC0415

        columns = (
            bars.TextColumn("{task.description}"),
            bars.BarColumn(),
            bars.DownloadColumn(),
            bars.TransferSpeedColumn(),
            bars.TimeRemainingColumn(),
        )
        with bars.Progress(*columns, console=self.console, transient=True) as progress:
            task = progress.add_task(what, total=total)
            yield lambda done: progress.update(task, completed=done)

    def _let_go(self) -> None:
        """Continue without output after a closed pipe."""
        if self._stream is not None:
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
        self._stream = None


class _Lines:
    """Reports the number of bytes at most every ``SILENT`` seconds, so that a log of hours stays short."""

    def __init__(self, say: Callable[[str], None], what: str, total: int | None, clock: Callable[[], float]) -> None:
        self._say, self._what, self._total, self._clock = say, what, total, clock
        self._last = clock()

    def __call__(self, done: int) -> None:
        if self._clock() - self._last < SILENT:
            return

        from rich.filesize import decimal  # noqa: PLC0415

        self._last = self._clock()
        self._say(f"{self._what}: {decimal(done)}" + (f" of {decimal(self._total)}" if self._total else ""))


@contextmanager
def silent_libraries() -> Iterator[None]:
    """Suppress warnings and notices of libraries that a user cannot act on, within the block."""
    before = logging.root.manager.disable
    with warnings.catch_warnings():
        if not sys.warnoptions:  # enabled with python -W or PYTHONWARNINGS
            warnings.simplefilter("ignore")
        # Not with the loggers' levels, which libraries set when they are imported later.
        logging.disable(max(before, logging.WARNING))
        try:
            yield
        finally:
            logging.disable(before)
