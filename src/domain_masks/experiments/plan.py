"""Leave-one-domain-out plans: which runs a benchmark consists of, and where each of them lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from domain_masks.data import ImageDataset
from domain_masks.errors import InputError, RunFolderError, unknown
from domain_masks.methods.build import method_class, method_settings
from domain_masks.records import RunFolder
from domain_masks.records.config import RunConfig, parse_config, read_config
from domain_masks.training.defaults import resolve

State = Literal["done", "begun", "open"]

_NOT_COMPUTED = ("workers", "root", "device", "devices", "checkpoint_every", "verify")
"""Settings that do not decide what a run computes."""


@dataclass(frozen=True)
class PlannedRun:
    """One run of a plan: its complete configuration and its folder."""

    config: RunConfig
    folder: RunFolder

    @property
    def name(self) -> str:
        """The folder's path below the benchmark's."""
        return "/".join(self.folder.path.parts[-3:])

    @property
    def state(self) -> State:
        """Whether the run is done, begun, or still open."""
        if self.folder.is_finished:
            return "done"
        return "begun" if self.folder.exists else "open"

    def check(self) -> None:
        """Raise RunFolderError where the folder holds a run with other settings."""
        if not self.folder.config.is_file():
            return
        # Parsed, so that a setting which an older version did not have is at its default.
        there = parse_config(read_config(self.folder.config)).model_dump(mode="json")
        here = self.config.model_dump(mode="json")
        names = [name for name in here if name not in _NOT_COMPUTED and there[name] != here[name]]
        if names:
            changes = ", ".join(f"{name} (there {there[name]!r}, asked for {here[name]!r})" for name in names)
            raise RunFolderError(
                f"{self.folder.path} holds a run with other settings: {changes}. Name another folder with --out, or repeat "
                "the benchmark with the settings that it was begun with"
            )


def leave_one_out(
    base: RunConfig,
    dataset: ImageDataset,
    methods: Sequence[str],
    targets: Sequence[str],
    seeds: Sequence[int],
    out: Path,
) -> list[PlannedRun]:
    """Return the runs methods x targets x seeds, target by target, so that early results already compare methods.

    - ``base``: the settings that all runs share; a setting of a method goes to the methods that have it
    - ``targets``: each a domain, or several joined by commas; none means every domain of the dataset in turn
    - ``out``: the benchmark's folder; a run lies in ``METHOD/TARGET/seed-N``

    Raises InputError for unknown or repeated names, and for a method's setting that none of the methods has.
    """
    held_out = list(targets) or list(dataset.domains)
    for kind, given in (("method", list(methods)), ("target", held_out), ("seed", [str(seed) for seed in seeds])):
        repeated = sorted({name for name in given if given.count(name) > 1})
        if repeated:
            raise InputError(f"{kind} {repeated[0]!r} is named twice: expected every one once")
    settings = {name: _own_settings(name, base.method_settings) for name in methods}
    unused = set(base.method_settings) - {setting for own in settings.values() for setting in own}
    if unused:
        known = sorted({field.name for name in methods for field in fields(method_class(name).Settings)})
        raise unknown("method setting", f"method.{sorted(unused)[0]}", [f"method.{name}" for name in known])
    plan = []
    for target in held_out:
        for name in methods:
            for seed in seeds:
                domains = tuple(part.strip() for part in target.split(","))
                for domain in domains:
                    if domain not in dataset.domains:
                        raise unknown("held-out domain", domain, dataset.domains)
                config = base.model_copy(
                    update={"method": {"name": name, **settings[name]}, "target": domains, "seed": seed}
                )
                folder = RunFolder(out / name / "+".join(domains) / f"seed-{seed}")
                plan.append(PlannedRun(resolve(config, dataset), folder))
    return plan


def _own_settings(method: str, values: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that ``method`` has, checked."""
    known = {field.name for field in fields(method_class(method).Settings)}
    own = {name: value for name, value in values.items() if name in known}
    method_settings(method, own)
    return own
