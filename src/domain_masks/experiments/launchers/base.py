"""The execution of one run of a benchmark and its outcome, on which all launchers are built."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from domain_masks.data import ImageDataset
from domain_masks.errors import DiskFullError, DomainMasksError
from domain_masks.experiments.run_locks import assign, assigned, locked
from domain_masks.methods.plugins import load_plugins
from domain_masks.progress import ConsoleReporter, Reporter
from domain_masks.records import RunFolder
from domain_masks.records.config import RunConfig
from domain_masks.records.failure import record_failure
from domain_masks.training import run


@dataclass(frozen=True)
class Job:
    """A run to execute; it can be sent to another process.

    - ``title``: the name of the run before its output
    - ``folder``: its folder, unless another run uses it by then
    - ``out``: the benchmark's folder
    """

    key: str
    title: str
    config: RunConfig
    folder: Path
    out: Path


@dataclass(frozen=True)
class Outcome:
    """The outcome of a job.

    - ``state``: "done"; "failed", with ``error``; "busy", where another process is executing it; "full", where the disk is
      full, with ``error``: the other runs would fail as well
    - ``folder``: of the run; None where it has none
    """

    state: Literal["done", "failed", "busy", "full"]
    folder: Path | None = None
    error: str = ""


class Launcher(Protocol):
    """Executes jobs, in any order, and yields each with its outcome when it ends.

    When the generator is closed, by Ctrl-C or otherwise, running jobs save their state and end.
    """

    def launch(self, jobs: Sequence[Job], dataset: ImageDataset, reporter: Reporter) -> Iterator[tuple[Job, Outcome]]:
        """Yield every job once, with its outcome."""


@dataclass(frozen=True)
class InProcess:
    """One run after the other, in this process."""

    def launch(self, jobs: Sequence[Job], dataset: ImageDataset, reporter: Reporter) -> Iterator[tuple[Job, Outcome]]:
        """Yield every job once, with its outcome."""
        for job in jobs:
            reporter.say(job.title)
            yield job, execute(job, dataset, reporter)


def execute(job: Job, dataset: ImageDataset, reporter: Reporter) -> Outcome:
    """Execute or resume one run in this process, and turn exceptions into an outcome.

    A failure is recorded in the run's folder, an unexpected error with its traceback. Ctrl-C and other exceptions that end
    the process pass through.
    """
    folder: RunFolder | None = None
    try:
        load_plugins(job.config.plugin)
        with locked(job.out, job.key) as mine:
            if not mine:
                return Outcome("busy")
            folder = assign(job.out, RunFolder(job.folder), job.key, job.config, dataset)
            run(job.config, folder.path, resume=True, dataset=dataset, reporter=reporter)
            return Outcome("done", folder.path)
    except DiskFullError as error:
        return Outcome("full", folder.path if folder else None, str(error))
    except Exception as error:
        return failed(folder, error)


def failed(folder: RunFolder | None, error: BaseException | str, kind: str | None = None) -> Outcome:
    """Record why a run failed, if its folder is writable, and return the outcome."""
    message = str(error) if isinstance(error, DomainMasksError | str) else f"{type(error).__name__}: {error}"
    if folder is not None and folder.path.is_dir():
        with suppress(DomainMasksError):
            message = record_failure(folder.failure, error, kind)
    return Outcome("failed", folder.path if folder else None, message)


def lost(job: Job, reason: str) -> Outcome:
    """Return the outcome of a job whose process has ended, and record it in the run's folder."""
    return failed(assigned(job.out, job.key) or RunFolder(job.folder), reason, "ProcessLost")


class ForwardingReporter(ConsoleReporter):
    """A reporter that sends lines to another process: no bars, whatever this process's own output is."""

    def __init__(self, send: Callable[[str], None]) -> None:
        super().__init__()
        self._send = send

    @property
    def shows_bars(self) -> bool:
        """Whether the output can overwrite a line: never."""
        return False

    def say(self, line: str) -> None:
        """Send one line."""
        self._send(line)
