"""Loggers of a run besides its own files (``--logger wandb mlflow``): opened before it, and never a reason to lose it.

A run folder keeps which run of a service it is, so that a resumed run continues the same one. The metrics have the names of
``metrics.csv`` and the epoch as their step; a run's group is the folder that it lies in.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from domain_masks.errors import InputError
from domain_masks.progress import Reporter
from domain_masks.records import Results, RunFolder, write_json
from domain_masks.records.config import RunConfig
from domain_masks.records.files import read_json
from domain_masks.records.metrics_log import EPOCH

PROJECT = "domain-masks"
"""The project, or experiment, where the service's own settings name no other one."""

Row = Mapping[str, float | int | str]


@dataclass(frozen=True)
class LoggedRun:
    """What a service is told of a run when it starts.

    - ``name``, ``group``: of the run folder, and of the folder that it lies in
    - ``config``: all settings, as in ``config.yaml``
    - ``known``: what :attr:`Service.identity` was when the run was started; None for a new run
    """

    folder: Path
    name: str
    group: str
    config: Mapping[str, Any]
    known: str | None


class Service(Protocol):
    """A service that runs are logged to."""

    @property
    def identity(self) -> str:
        """The service's own name of the run."""

    def add(self, numbers: Mapping[str, float], epoch: int) -> None:
        """Log the numbers of an epoch."""

    def finish(self, numbers: Mapping[str, float]) -> None:
        """Log the results."""

    def close(self, failed: bool) -> None:
        """End the run."""


SERVICES: dict[str, tuple[str, str]] = {
    "wandb": ("Weights & Biases", "domain_masks.training.weights_and_biases"),
    "mlflow": ("MLflow", "domain_masks.training.mlflow_runs"),
}
"""Name of ``--logger``, which is also that of its library and of the extra -> its title and the module that serves it."""


def check_services(config: RunConfig) -> None:
    """Raise InputError where a service of ``--logger`` cannot be used: its library is missing, no login, no connection."""
    for name in _named(config):
        _module_of(name).check()


def _named(config: RunConfig) -> list[str]:
    return [name for name in config.logger if name in SERVICES]


def _module_of(name: str) -> Any:
    try:
        importlib.import_module(name)
    except ImportError as error:
        raise InputError(
            f"logger: {name!r} needs a library that is not installed ({error}): pip install 'domain-masks[{name}]', or "
            "leave it out"
        ) from error
    return importlib.import_module(SERVICES[name][1])


class RunLogs:
    """The services that a run is logged to. One that fails is reported once, and the run continues without it."""

    def __init__(self, services: Mapping[str, Service], new: Iterable[str], reporter: Reporter) -> None:
        self._services = dict(services)
        self._new = set(new)
        self._reporter = reporter

    @classmethod
    def open(cls, config: RunConfig, folder: RunFolder, reporter: Reporter) -> RunLogs:
        """Start or continue the run at every service of the configuration."""
        known = _known(folder)
        logs = cls({}, (), reporter)
        for name in _named(config):
            path = folder.path.absolute()
            run = LoggedRun(path, path.name, path.parent.name, config.to_dict(), known.get(name))

            def start(name: str = name, run: LoggedRun = run) -> None:
                logs._services[name] = _module_of(name).start(run)

            logs._guarded(name, start)
        logs._new = {name for name in logs._services if name not in known}
        started = {name: service.identity for name, service in logs._services.items()}
        if started and started != known:
            write_json(folder.logged_runs, known | started)
        return logs

    def catch_up(self, rows: Iterable[Row]) -> None:
        """Log the epochs that were done before, to services that do not have the run yet."""
        for row in rows:
            self._add(row, list(self._new))

    def add(self, row: Row) -> None:
        """Log the row of an epoch; only its numbers."""
        self._add(row, list(self._services))

    def _add(self, row: Row, names: Iterable[str]) -> None:
        numbers = {
            name: float(value) for name, value in row.items() if isinstance(value, float | int) and name != EPOCH
        }
        for name in names:
            if name in self._services:
                self._guarded(name, lambda name=name: self._services[name].add(numbers, int(row[EPOCH])))  # type: ignore[misc]

    def finish(self, results: Results) -> None:
        """Log the accuracies of the finished run."""
        numbers = dict(_accuracies(results))
        for name in list(self._services):
            self._guarded(name, lambda name=name: self._services[name].finish(numbers))  # type: ignore[misc]

    @contextmanager
    def closing(self) -> Iterator[RunLogs]:
        """Close all services after the block; runs that it raises out of, interrupted ones too, are marked as failed."""
        failed = True
        try:
            yield self
            failed = False
        finally:
            for name in list(self._services):
                self._guarded(name, lambda name=name: self._services[name].close(failed))  # type: ignore[misc]

    def _guarded(self, name: str, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # whatever a library or its network may raise
            self._services.pop(name, None)
            reason = (str(error).strip().splitlines() or [""])[0][:200]
            self._reporter.say(
                f"no more logs at {SERVICES[name][0]} ({type(error).__name__}: {reason}): the run continues without them"
            )


def _known(folder: RunFolder) -> dict[str, str]:
    if not folder.logged_runs.is_file():
        return {}
    return {name: value for name, value in read_json(folder.logged_runs).items() if isinstance(value, str)}


def _accuracies(results: Results) -> Iterator[tuple[str, float]]:
    for measure in ("out_of_domain", "in_domain", "known_domain"):
        accuracies = getattr(results, measure)
        if accuracies is not None:
            yield f"result/{measure}", accuracies.accuracy
            for domain, accuracy in accuracies.per_domain.items():
                yield f"result/{measure}/{domain}", accuracy
    if results.best_epoch is not None:
        yield "result/best_epoch", float(results.best_epoch)
