"""Leave-one-domain-out plans: which runs a benchmark consists of, and where each of them lies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from domain_masks.data import ImageDataset, domains_named
from domain_masks.errors import RunFolderError, together, unknown
from domain_masks.methods.build import complete_method, method_class
from domain_masks.records import RunFolder
from domain_masks.records.config import AUTO, NOT_COMPUTED, RunConfig, parse_config, read_config
from domain_masks.records.run_folder import folder_name
from domain_masks.settings.lists import adapted, check_lists
from domain_masks.training.defaults import resolve

State = Literal["done", "begun", "open"]


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
        before = parse_config(read_config(self.folder.config))
        there, here = before.to_dict(), self.config.to_dict()
        there["method"] = complete_method(before.method_name, before.method_settings)
        names = [name for name in here if name not in NOT_COMPUTED and there[name] != here[name]]
        if self.config.batch == AUTO:
            # The number that was chosen then is the one to go on with.
            names = [name for name in names if name != "batch"]
        if names:
            changes = ", ".join(f"{name} (there {there[name]!r}, asked for {here[name]!r})" for name in names)
            raise RunFolderError(
                f"{self.folder.path} holds a run with other settings: {changes}. Name another folder with --out, or repeat "
                "the benchmark with the settings that it was begun with"
            )


def leave_one_out(
    base: RunConfig,
    dataset: ImageDataset,
    methods: Sequence[str | Mapping[str, Any]],
    targets: Sequence[str],
    seeds: Sequence[int],
    out: Path,
) -> list[PlannedRun]:
    """Return the runs methods x targets x seeds, target by target, so that early results already compare methods.

    - ``base``: the settings that all runs share; a setting of a method goes to the methods that have it, and those of masks
      to the methods that have masks
    - ``methods``: names, or mappings of a name and settings of its own
    - ``targets``: each a domain, or several joined by commas; none means every domain of the dataset in turn
    - ``out``: the benchmark's folder; a run lies in ``METHOD/TARGET/seed-N``

    Raises InputError for unknown or repeated names, and for a method's setting that none of the methods has.
    """
    given = {"methods": list(methods), "targets": list(targets), "seeds": list(seeds)}
    lists, mistakes = check_lists(base, base.method, given)
    if mistakes:
        raise together(mistakes)
    plan = []
    for domains in _held_out(lists.targets, dataset.domains):
        for method in lists.methods:
            shared = adapted(base, method_class(method["name"]))
            for seed in lists.seeds:
                config = shared.model_copy(update={"method": method, "target": domains, "seed": seed})
                folder = RunFolder(out / method["name"] / "+".join(map(folder_name, domains)) / f"seed-{seed}")
                plan.append(PlannedRun(resolve(config, dataset), folder))
    return plan


def _held_out(targets: Sequence[str], known: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the domains that each of ``targets`` holds out; every domain by itself where there are none."""
    if not targets:
        return [(domain,) for domain in known]
    held_out = [domains_named((target,), known) for target in targets]
    for target, domains in zip(targets, held_out, strict=True):
        for name in domains or (target,):
            if name not in known:
                raise unknown("held-out domain", name, known)
    return held_out
