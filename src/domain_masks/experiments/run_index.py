"""The existing runs below a benchmark's folder, identified by what they compute and not by the names of their folders."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from domain_masks.data import ImageDataset, content_of
from domain_masks.errors import DomainMasksError
from domain_masks.methods.settings import method_defaults, with_settings
from domain_masks.records import Results, RunFolder
from domain_masks.records.collection import run_folders
from domain_masks.records.config import AUTO, RunConfig, parse_config, read_config
from domain_masks.records.identity import CONTENT, REVISED, inputs_noted, inputs_of, run_key
from domain_masks.records.preparation import as_started
from domain_masks.training.defaults import resolve


class RunIndex:
    """The runs below ``out``, indexed by their keys.

    - ``dataset``: of the benchmark; runs of another dataset have other keys

    Of several runs with the same key a finished one is used, else one with a checkpoint, else the first by path. Folders
    whose settings cannot be read are ignored.
    """

    def __init__(self, out: Path, dataset: ImageDataset) -> None:
        self._by_key: dict[str, RunFolder] = {}
        content = content_of(dataset)
        for folder in run_folders(out) if out.is_dir() else ():
            for key in keys_in(folder, dataset.domains, content, dataset):
                known = self._by_key.get(key)
                if known is None or _preference(folder) > _preference(known):
                    self._by_key[key] = folder

    def find(self, key: str) -> RunFolder | None:
        """Return the folder of the run with this key; None where there is none."""
        return self._by_key.get(key)


def key_of(
    config: RunConfig, domains: Iterable[str], inputs: dict[str, Any] | None = None, content: str | None = None
) -> str:
    """Return the key of a complete configuration on a dataset with these domains and this content."""
    return run_key(config, inputs or inputs_of(config, domains, content), method_defaults(config.method_name))


def keys_in(
    folder: RunFolder, domains: Iterable[str], content: str | None = None, dataset: ImageDataset | None = None
) -> Iterator[str]:
    """Yield the possible keys of the run in a folder; none where its settings cannot be read.

    - ``domains``: of the dataset, for unfinished runs of older versions, which did not record them
    - ``content``: of the dataset, for runs of older versions, which did not record it: they are identified by names only
    - ``dataset``: provides settings that older versions did not record
    """
    try:
        values = read_config(folder.config)
        config = as_started(parse_config(values), values)
        config = with_settings(config)
    except DomainMasksError:
        return
    if _is_of_test_time(folder):
        return
    noted = inputs_noted(folder)
    if dataset is not None:
        config = _resolved(config, dataset)
    if noted is not None:
        yield key_of(config, (), _with_content(noted, content))
        return
    inputs = inputs_of(config, _domains_of(folder) or domains, content)
    if folder.results.exists() or folder.last.exists():
        # It was started by a version that recorded nothing, and so before any revision.
        inputs.pop(REVISED, None)
    yield key_of(config, (), inputs)
    # It is unknown whether this number was set or chosen by an older version.
    yield key_of(config, (), inputs | {"batch": AUTO})


def _is_of_test_time(folder: RunFolder) -> bool:
    """Whether a folder holds results of another run's model with an option of test time, and not a run."""
    try:
        return Results.read(folder.results).protocol.test_time is not None
    except DomainMasksError:
        return False


def _with_content(noted: dict[str, Any], content: str | None) -> dict[str, Any]:
    return noted if content is None or CONTENT in noted else noted | {CONTENT: content}


def is_of_unknown_content(folder: RunFolder) -> bool:
    """Whether a run was started by a version that did not record the content of its images."""
    return CONTENT not in (inputs_noted(folder) or {})


def _resolved(config: RunConfig, dataset: ImageDataset) -> RunConfig:
    try:
        return resolve(config, dataset)
    except DomainMasksError:
        return config


def _domains_of(folder: RunFolder) -> list[str] | None:
    """Return the sources and held-out domains that a finished run names."""
    try:
        results = Results.read(folder.results)
    except DomainMasksError:
        return None
    return [*results.sources, *results.targets]


def _preference(folder: RunFolder) -> tuple[int, bool]:
    return 2 if folder.is_finished else int(folder.last.is_file()), not is_of_unknown_content(folder)
