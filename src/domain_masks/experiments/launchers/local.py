"""Several runs at once on this machine: a process each, with the cores and GPUs divided among them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Any

from domain_masks.cores import CORES_VARIABLE, cores, usual_readers
from domain_masks.data import ImageDataset, Preprocessing, readable, with_stored_images
from domain_masks.errors import DomainMasksError, InputError
from domain_masks.experiments.launchers.base import ForwardingReporter, Job, Outcome, execute, lost
from domain_masks.progress import Reporter, silent_libraries
from domain_masks.records.setting_types import OWN_RANGE
from domain_masks.settings.main_module import GUARD
from domain_masks.training.image_preparation import preprocessing_of

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
_GPUS = "CUDA_VISIBLE_DEVICES"
_READY = True
"""What a process sends first."""


@dataclass(frozen=True)
class LocalProcesses:
    """``count`` processes on this machine, each of which executes one run after another.

    Each gets its share of the cores (threads of PyTorch) and, with ``uses_gpus``, one of the GPUs that this process may use,
    in turn. A process that is killed, as the system does where memory runs out, only fails its run. Ctrl-C and SIGTERM are
    passed on once, and every run saves its state before it ends; a second signal ends them immediately.
    """

    count: int
    uses_gpus: bool = True

    def launch(self, jobs: Sequence[Job], dataset: ImageDataset, reporter: Reporter) -> Iterator[tuple[Job, Outcome]]:
        """Yield every job once, with its outcome, as it ends; images that they share are decoded before.

        Raises InputError where processes end before they could begin.
        """
        _cache_images(jobs, dataset, reporter)
        waiting = deque(jobs)
        gpus = visible_gpus() if self.uses_gpus else []
        count = min(self.count, len(jobs))
        own = {CORES_VARIABLE: str(max(1, cores() // max(1, count)))}
        # Threads by the number that was asked for: they are part of a run's conditions.
        slots = [slot_environment(number, self.count, shared_cores(), gpus) | own for number in range(count)]
        workers = [_Worker(environment, dataset) for environment in slots]
        try:
            for worker in workers:
                worker.begin(waiting.popleft(), reporter)
            while active := [worker for worker in workers if worker.job is not None]:
                ready = wait([end for worker in active for end in (worker.connection, worker.process.sentinel)])
                for number, worker in enumerate(workers):
                    if worker.connection not in ready and worker.process.sentinel not in ready:
                        continue
                    job, outcome = worker.job, worker.look(reporter)
                    if job is None or outcome is None:
                        continue
                    if not worker.process.is_alive() and waiting:
                        workers[number] = _Worker(slots[number], dataset)
                    if waiting:
                        workers[number].begin(waiting.popleft(), reporter)
                    yield job, outcome
        except BaseException:
            _stop(workers, reporter)
            raise
        finally:
            for worker in workers:
                worker.close()


def _cache_images(jobs: Sequence[Job], dataset: ImageDataset, reporter: Reporter) -> None:
    """Decode the images of several runs into the cache, which each would do with its share of the cores while others wait."""
    done: set[Preprocessing] = set()
    for config in (job.config for job in jobs):
        # The range of the values follows from the sources, which are other ones in each run.
        if config.cache not in ("disk", "device") or config.freeze_features or config.value_range == OWN_RANGE:
            continue
        with suppress(DomainMasksError, OSError):  # which the run itself reports
            preprocessing = preprocessing_of(config, dataset)
            if preprocessing not in done:
                readers = usual_readers() if config.workers is None else config.workers
                with_stored_images(readable(dataset, config, reporter), preprocessing, "disk", readers, reporter)
                done.add(preprocessing)


class _Worker:
    """A worker process, its connection, and its current job."""

    def __init__(self, environment: Mapping[str, str], dataset: ImageDataset) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.job: Job | None = None
        self.is_ready = False
        # Sent when all processes have been started, as sending to one that is still importing would block.
        self._unsent: ImageDataset | None = dataset
        self.process: BaseProcess = context.Process(target=serve, args=(theirs,), name="domain-masks-run")
        with _changed_environment(environment), _ctrl_c_ignored():
            self.process.start()
        theirs.close()

    def begin(self, job: Job, reporter: Reporter) -> None:
        reporter.say(job.title)
        self.job = job
        with suppress(OSError):  # its sentinel reports that it has ended
            if self._unsent is not None:
                self.connection.send(self._unsent)
                self._unsent = None
            self.connection.send(job)

    def look(self, reporter: Reporter) -> Outcome | None:
        """Print the lines of the process; return the outcome of its job if it is there, or if the process has ended.

        Raises InputError where it ended by an error before it could begin, as all others would.
        """
        if self.job is None:
            return None
        job = self.job
        outcome = self.listen(reporter)
        if outcome is not None or self.process.is_alive():
            return outcome
        status = self.process.exitcode
        if not self.is_ready and status is not None and status > 0:
            raise InputError(
                f"a process for runs ended with status {status} before it could begin; its error is above. Each process "
                f"imports the program's main file: put the calls of a script below `{GUARD}`, or leave out jobs"
            )
        self.job = None
        return lost(job, how_it_ended(status))

    def listen(self, reporter: Reporter) -> Outcome | None:
        """Print the lines of the process so far, also after its end; returns the outcome of its job if it is there."""
        if self.job is None:
            return None
        try:
            while self.connection.poll():
                said: str | bool | Outcome = self.connection.recv()
                if isinstance(said, bool):
                    self.is_ready = said
                    continue
                if isinstance(said, Outcome):
                    self.job = None
                    return said
                _show(self.job, said, reporter)
        except (EOFError, OSError):
            self.process.join()
        return None

    def close(self) -> None:
        """Close the connection, upon which the process ends."""
        self.connection.close()
        self.process.join()


def serve(connection: Connection) -> None:
    """Receive the dataset, and then execute jobs until there are no more: a process of :class:`LocalProcesses`."""
    signal.signal(signal.SIGTERM, _end)
    if hasattr(os, "setpgrp"):
        # A signal to the process group would arrive twice, and the second one would end a run immediately.
        os.setpgrp()
    threading.Thread(target=_end_with_the_parent, daemon=True).start()

    def send(line: str) -> None:
        with suppress(OSError):  # the launching process has ended, and nobody can print it
            connection.send(line)

    with suppress(_Ended, EOFError, OSError), silent_libraries():
        connection.send(_READY)
        dataset: ImageDataset = connection.recv()
        while True:
            job: Job = connection.recv()
            connection.send(execute(job, dataset, ForwardingReporter(send)))


class _Ended(BaseException):
    """The process received SIGTERM."""


def _end(_signal: int, _frame: FrameType | None) -> None:
    raise _Ended


def _end_with_the_parent() -> None:
    """Wait until the parent process has ended, and then end as on SIGTERM, as nobody else would end this process."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)


def _stop(workers: Sequence[_Worker], reporter: Reporter) -> None:
    """Ask all processes to save and end, and wait for them; a second Ctrl-C ends them immediately."""
    running = [worker for worker in workers if worker.process.is_alive()]
    busy = sum(worker.job is not None for worker in running)
    if busy:
        reporter.say(f"stopping: {busy} run{'s save their' if busy > 1 else ' saves its'} state")
    for worker in running:
        worker.process.terminate()
    try:
        for worker in running:
            while worker.process.is_alive():
                # Their output is still read, as a process cannot end while the pipe is full.
                wait([worker.connection, worker.process.sentinel])
                worker.listen(reporter)
                if worker.job is None:
                    worker.close()
            # A process that ended while another was waited for.
            worker.listen(reporter)
    except BaseException:
        for worker in running:
            worker.process.kill()
        raise


def _show(job: Job, text: str, reporter: Reporter) -> None:
    name = job.title.partition(" ")[2]
    for line in text.splitlines():
        reporter.say(f"{name}: {line}")


def how_it_ended(status: int | None) -> str:
    """Return how the process of a run ended without an outcome."""
    if status is None or status >= 0:
        return f"the process of the run ended with status {status} before the run was done"
    name = signal.Signals(-status).name if -status in set(signal.Signals) else f"signal {-status}"
    hint = " (as the system does where memory runs out: try fewer --jobs or a smaller --batch)"
    return f"the process of the run was ended by {name}{hint if name == 'SIGKILL' else ''}"


def shared_cores() -> int:
    """Return how many cores the runs share: those of this process, at most ``OMP_NUM_THREADS``."""
    allowed, asked = cores(), os.environ.get(_THREADS[0], "")
    return min(allowed, int(asked)) if asked.isdecimal() and int(asked) else allowed


def visible_gpus() -> list[str]:
    """Return the GPUs that this process may use, as ``CUDA_VISIBLE_DEVICES`` names them."""
    import torch  # noqa: PLC0415

    count = torch.cuda.device_count()
    named = [name.strip() for name in os.environ.get(_GPUS, "").split(",") if name.strip()]
    return named[:count] if named else [str(number) for number in range(count)]


def slot_environment(number: int, count: int, core_count: int, gpus: Sequence[str]) -> dict[str, str]:
    """Return the environment variables of process ``number`` of ``count``, which give it its share of cores and GPUs."""
    threads = str(max(1, core_count // count))
    share = dict.fromkeys(_THREADS, threads)
    return share | ({_GPUS: gpus[number % len(gpus)]} if gpus else {})


@contextmanager
def _changed_environment(changes: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for a process that is started in the block, which it has before any import."""
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _ctrl_c_ignored() -> Iterator[None]:
    """Start a process that ignores Ctrl-C, which a terminal sends to all processes: it is passed on as SIGTERM, once."""
    before: Any = None
    in_main = threading.current_thread() is threading.main_thread()
    if in_main:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        if in_main:
            signal.signal(signal.SIGINT, before)
