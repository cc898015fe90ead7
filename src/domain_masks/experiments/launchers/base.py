"""One run of a benchmark carried out where this is called, and what became of it; what all launchers stand on."""

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
    """A run that is to be carried out; it can be sent to another process.

    - ``title``: what the run is called where its words are shown
    - ``folder``: where it lies, or will lie unless another run has that folder by then
    - ``out``: the benchmark's folder
    """

    key: str
    title: str
    config: RunConfig
    folder: Path
    out: Path


@dataclass(frozen=True)
class Outcome:
    """What became of a job.

    - ``state``: "done"; "failed", with ``error``; "busy", where another process carries it out at this moment; "full", where
      the disk is, with ``error``: the others would fail as well
    - ``folder``: where the run lies; None where it has no folder
    """

    state: Literal["done", "failed", "busy", "full"]
    folder: Path | None = None
    error: str = ""


class Launcher(Protocol):
    """Carries out jobs, in whatever order, and gives back each with its outcome as it ends.

    Where the block that takes them is left, by Ctrl-C or otherwise, runs that have started save their state and end.
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
    """Carry out one run in this process, or resume it, and turn what it raises into an outcome.

    What fails is recorded in the run's folder, an unexpected error with its traceback. Ctrl-C and what else ends the process
    pass through.
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
    """Record why a run failed, as far as that can be written, and return it as an outcome."""
    message = str(error) if isinstance(error, DomainMasksError | str) else f"{type(error).__name__}: {error}"
    if folder is not None and folder.path.is_dir():
        with suppress(DomainMasksError):
            message = record_failure(folder.failure, error, kind)
    return Outcome("failed", folder.path if folder else None, message)


def lost(job: Job, reason: str) -> Outcome:
    """Return the outcome of a job whose process has gone, and record it where the run lies by now."""
    return failed(assigned(job.out, job.key) or RunFolder(job.folder), reason, "ProcessLost")


class ForwardingReporter(ConsoleReporter):
    """Lines for somebody else to show: no bars, whatever this process's own output is."""

    def __init__(self, send: Callable[[str], None]) -> None:
        super().__init__()
        self._send = send

    @property
    def shows_bars(self) -> bool:
        """Whether the output can take a line back: never."""
        return False

    def say(self, line: str) -> None:
        """Send one line."""
        self._send(line)
