"""All runs below some folders; records that cannot be read are listed with the reason, and raise nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from domain_masks.errors import DomainMasksError, InputError, RunFolderError
from domain_masks.records.config import parse_config, read_config
from domain_masks.records.failure import FAILURE, read_failure
from domain_masks.records.files import read_json
from domain_masks.records.identity import CONTENT, inputs_noted, revisions_missing
from domain_masks.records.metrics_log import MetricsLog, Value
from domain_masks.records.predictions import Predictions
from domain_masks.records.preparation import with_usual_preparation
from domain_masks.records.results import Results
from domain_masks.records.run_folder import RunFolder
from domain_masks.records.search import SearchRecord, read_search

RESULTS = "results.json"
_CONFIG = "config.yaml"
_INSIDE_A_RUN = frozenset({"checkpoints", "figures", "tensorboard", "wandb"})


@dataclass(frozen=True)
class RunRecord:
    """One finished run: its results, its settings and its folder.

    - ``config``: the content of ``config.yaml``, every setting by name
    """

    folder: RunFolder
    results: Results
    config: Mapping[str, Any]

    @property
    def method_settings(self) -> dict[str, Any]:
        """The method's settings, without its name."""
        method = self.config.get("method")
        return {name: value for name, value in method.items() if name != "name"} if isinstance(method, Mapping) else {}

    @cached_property
    def inputs(self) -> Mapping[str, Any]:
        """The inputs that the run recorded, see :mod:`domain_masks.records.identity`; empty where it did not."""
        return inputs_noted(self.folder) or {}

    @cached_property
    def started(self) -> str:
        """When the run was started, in ISO 8601 and UTC, so that it sorts by time; empty where it is not recorded."""
        try:
            return str(read_json(self.folder.environment).get("started", ""))
        except RunFolderError:
            return ""

    @property
    def content(self) -> str | None:
        """The fingerprint of the dataset's images, names and labels; None for runs of versions that did not record it."""
        return self.inputs.get(CONTENT)

    @property
    def weights_content(self) -> str | None:
        """The digest of the file of initial weights; None without one, and for runs of versions that did not record it."""
        return self.inputs.get("weights")

    @property
    def revisions_missing(self) -> tuple[str, ...]:
        """The names of the revisions that changed what the run computes since it was made."""
        try:
            return tuple(revisions_missing(parse_config(self.config), self.inputs))
        except DomainMasksError:  # of a method or version that is not known here
            return ()

    def predictions(self) -> Predictions:
        """Read the logits per sample; raises RunFolderError where they are missing or malformed."""
        return Predictions.load(self.folder.predictions)

    def metrics(self) -> list[dict[str, Value]]:
        """Read the rows per epoch, none where there is no such file; raises RunFolderError where it is malformed."""
        return MetricsLog(self.folder.metrics).read()


@dataclass(frozen=True)
class Skipped:
    """A run folder whose records cannot be used: incomplete, malformed, of a newer version, or failed."""

    path: Path
    reason: str

    def __str__(self) -> str:
        """Return the reason, which may name the folder already."""
        return self.reason if str(self.path) in self.reason else f"{self.path}: {self.reason}"


@dataclass(frozen=True)
class Collection:
    """The runs below some folders.

    - ``runs``: the finished runs, ordered by path
    - ``skipped``: folders whose records cannot be used, each with the reason
    - ``failed``: runs that ended with an error, each with its message
    - ``unfinished``: folders of runs that were started and have no results yet
    - ``searches``: the searches of benchmarks with ``--search``
    """

    runs: tuple[RunRecord, ...]
    skipped: tuple[Skipped, ...] = field(default=())
    failed: tuple[Skipped, ...] = field(default=())
    unfinished: tuple[Path, ...] = field(default=())
    searches: tuple[SearchRecord, ...] = field(default=())


def collect(paths: Sequence[Path | str]) -> Collection:
    """Read every run at and below ``paths``, at any depth and under any name.

    Links to folders are not followed. Raises InputError where a path does not exist or is no folder; errors in one run are
    listed in the collection.
    """
    runs: list[RunRecord] = []
    skipped: list[Skipped] = []
    failed: list[Skipped] = []
    unfinished: list[Path] = []
    seen: set[Path] = set()
    for folder in (folder for path in paths for folder in run_folders(path)):
        real = folder.path.resolve()
        if real in seen:
            continue
        seen.add(real)
        if folder.results.exists():
            try:
                runs.append(read_run(folder))
            except DomainMasksError as error:
                skipped.append(Skipped(folder.path, str(error)))
        elif folder.failure.is_file():
            failed.append(Skipped(folder.path, read_failure(folder.failure)))
        else:
            unfinished.append(folder.path)
    searches = list(_searches(paths, skipped))
    return Collection(tuple(runs), tuple(skipped), tuple(failed), tuple(unfinished), tuple(searches))


def _searches(paths: Sequence[Path | str], skipped: list[Skipped]) -> Iterator[SearchRecord]:
    """Yield the search of each folder, or of those directly below it, as for a folder of several benchmarks."""
    folders = [folder for path in map(Path, paths) for folder in (path, *sorted(path.iterdir())) if folder.is_dir()]
    for folder in dict.fromkeys(folder.resolve() for folder in folders):
        try:
            search = read_search(folder)
        except DomainMasksError as error:
            skipped.append(Skipped(folder, str(error)))
            continue
        if search is not None:
            yield search


def run_folders(path: Path | str) -> Iterator[RunFolder]:
    """Yield every folder at or below ``path`` that a run has written into, in order of their names.

    A run folder is one with ``results.json`` or ``failed.json``, or with ``config.yaml`` beside ``checkpoints`` or
    ``environment.json``. Raises InputError where there is no such folder.
    """
    root = Path(path)
    if not root.is_dir():
        raise InputError(
            f"expected a folder with runs, got {str(root)!r}, which "
            + ("is a file" if root.is_file() else "does not exist")
        )
    for name, folders, files in os.walk(root):
        is_started = _CONFIG in files and ("checkpoints" in folders or "environment.json" in files)
        if RESULTS in files or FAILURE in files or is_started:
            folders[:] = [inner for inner in folders if inner not in _INSIDE_A_RUN]
            yield RunFolder(name)
        folders[:] = sorted(inner for inner in folders if not inner.startswith("."))


def read_run(folder: RunFolder) -> RunRecord:
    """Read the results and settings of one run; raises RunFolderError or InputError that say what cannot be read."""
    results = Results.read(folder.results)
    if not folder.config.is_file():
        raise RunFolderError(f"{folder.config} is missing: expected the settings beside {RESULTS}")
    return RunRecord(folder, results, with_usual_preparation(read_config(folder.config)))
