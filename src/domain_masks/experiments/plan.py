"""Leave-one-domain-out plans: the runs of a benchmark, and their folders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from domain_masks.data import ImageDataset, content_of, domains_named
from domain_masks.errors import InputError, combine_errors, unknown
from domain_masks.evaluation.selection_rules import LEAVE_ONE_DOMAIN_OUT
from domain_masks.evaluation.variants import short_name
from domain_masks.experiments.random_search import draws, ranges_of
from domain_masks.experiments.run_index import RunIndex, key_of
from domain_masks.experiments.run_locks import candidate_folders, is_free
from domain_masks.keywords import named_keywords
from domain_masks.methods.search_ranges import Range
from domain_masks.records import RunFolder
from domain_masks.records.config import RunConfig
from domain_masks.records.run_folder import folder_name
from domain_masks.settings.benchmark_lists import BenchmarkLists, check_lists
from domain_masks.settings.sweeps import METHOD, Variation, with_variation
from domain_masks.training.defaults import resolve

State = Literal["done", "failed", "started", "pending"]
_LONGEST = 100
_FEWEST_SOURCES = 2


@dataclass(frozen=True)
class PlannedRun:
    """One run of a plan: its complete configuration and its folder.

    - ``key``: equal for runs that compute the same; see :mod:`domain_masks.records.identity`
    - ``out``: the benchmark's folder, which contains it
    - ``variation``: the settings that replace the shared ones, name -> value, a method's own without prefix
    - ``variant``: the name of the listed variant that it belongs to, or empty
    - ``is_inner``: whether it only serves a selection rule, and is not a row of a table
    - ``drawn``: the settings that a search drew for it, by their full names
    """

    config: RunConfig
    folder: RunFolder
    key: str
    out: Path
    variation: Mapping[str, Any] = field(default_factory=dict)
    variant: str = ""
    is_inner: bool = False
    drawn: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The folder's path below the benchmark's."""
        return self.folder.path.relative_to(self.out).as_posix()

    @property
    def state(self) -> State:
        """Whether the run is done, failed, started, or still pending."""
        if self.folder.is_finished:
            return "done"
        if self.folder.failure.is_file():
            return "failed"
        return "started" if self.folder.exists else "pending"


@named_keywords
def leave_one_out(
    base: RunConfig,
    dataset: ImageDataset,
    methods: Sequence[str | Mapping[str, Any]],
    targets: Sequence[str],
    seeds: Sequence[int],
    out: Path,
    varied: Mapping[str, Any] | None = None,
) -> list[PlannedRun]:
    """Return the runs methods x targets x seeds x varied settings, target by target, so that early results are comparable.

    - ``base``: the settings that all runs share; a setting of a method goes to the methods that have it, and those of masks
      to the methods that have masks
    - ``methods``: names, or mappings of a name and its own settings
    - ``targets``: each a domain, or several joined by commas; empty for every domain of the dataset in turn
    - ``out``: the benchmark's folder; see :func:`plan`
    - ``varied``: ``sweep`` and ``variants``, see :mod:`domain_masks.settings.sweeps`

    Raises InputError for unknown or repeated names, and for a method's setting that none of the methods has.
    """
    unchecked = {"methods": list(methods), "targets": list(targets), "seeds": list(seeds), **(varied or {})}
    lists, mistakes = check_lists(base, base.method, unchecked)
    if mistakes:
        raise combine_errors(mistakes)
    return plan(base, dataset, lists, out)


def plan(base: RunConfig, dataset: ImageDataset, lists: BenchmarkLists, out: Path) -> list[PlannedRun]:
    """Return the runs of a benchmark whose lists have been checked; each once, however many variations lead to it.

    - ``out``: an existing run is found anywhere below it, under any name. A new one gets ``METHOD/TARGET/seed-N``, or
      ``METHOD/NAME=VALUE/TARGET/seed-N`` where settings are varied (for each value, also the default), followed by its key
      where another run has that folder
    - ``lists``: with the selection rule ``leave-one-domain-out`` every source is also held out together with each target; of
      a search all draws are run with the first seed, and the selected ones with the others later, see :func:`repeated`

    Raises InputError for an unknown held-out domain, and where that rule would leave one source.
    """
    held_out = _held_out(lists.targets, dataset.domains)
    planner = _Planner(base, dataset, lists.seeds[:1] if lists.search else lists.seeds, out)
    draws = draws_of(base, dataset, lists) if lists.search else {}
    for domains in held_out:
        for method in lists.methods:
            for variation in draws[method["name"]][1] if lists.search else lists.variations:
                planner.add(method, variation, domains)
    to_choose = choices(list(planner.runs.values())) if lists.select == LEAVE_ONE_DOMAIN_OUT else {}
    for domains in _with_a_source(held_out, dataset.domains) if to_choose else ():
        for method in lists.methods:
            for variation in lists.variations:
                if (method["name"], variation.name) in to_choose:
                    planner.add(method, variation, domains, is_inner=True)
    return list(planner.runs.values())


Draws = tuple[Mapping[str, Range], Sequence[Variation]]
"""The ranges of a method's search, and its draws; the first draw has the defaults."""


def draws_of(base: RunConfig, dataset: ImageDataset, lists: BenchmarkLists) -> dict[str, Draws]:
    """Return method -> its ranges and draws; see :mod:`domain_masks.experiments.random_search`."""
    domains, seed = _held_out(lists.targets, dataset.domains)[0], lists.seeds[0]
    by_method: dict[str, Draws] = {}
    for method in lists.methods:
        usual = with_variation(base, method, Variation())
        if usual is None:
            raise ValueError(f"expected settings of method {method['name']!r} without any variation, got none")
        config = resolve(usual[0].model_copy(update={"target": domains, "seed": seed}), dataset)
        by_method[method["name"]] = ranges_of(config), draws(config, lists.search or 1, seed)
    return by_method


def repeated(
    base: RunConfig, dataset: ImageDataset, lists: BenchmarkLists, out: Path, chosen: Sequence[PlannedRun]
) -> list[PlannedRun]:
    """Return the runs that a search has ``chosen``, with the benchmark's other seeds."""
    planner = _Planner(base, dataset, lists.seeds[1:], out)
    for planned in chosen:
        planner.repeat(planned)
    return list(planner.runs.values())


def choices(plan: Sequence[PlannedRun], fewest: int = 2) -> dict[tuple[str, str], list[PlannedRun]]:
    """Return (method, name of the variant) -> its runs, where these have at least ``fewest`` different settings."""
    groups: dict[tuple[str, str], list[PlannedRun]] = {}
    for planned in plan:
        groups.setdefault((planned.config.method_name, planned.variant), []).append(planned)
    return {
        name: runs for name, runs in groups.items() if len({tuple(run.variation.items()) for run in runs}) >= fewest
    }


def _with_a_source(held_out: Sequence[tuple[str, ...]], known: Sequence[str]) -> list[tuple[str, ...]]:
    """Return every held-out group with each source; raises InputError where fewer than two sources would be left."""
    for domains in held_out:
        if len(known) - len(domains) - 1 < _FEWEST_SOURCES:
            raise InputError(
                f"select: {LEAVE_ONE_DOMAIN_OUT} holds out a source together with {','.join(domains)}, which leaves "
                f"{len(known) - len(domains) - 1} domain to train on: expected two or more. Use source-validation"
            )
    return [(*domains, source) for domains in held_out for source in known if source not in domains]


class _Planner:
    """Collects the runs of a plan by their keys."""

    def __init__(self, base: RunConfig, dataset: ImageDataset, seeds: Sequence[int], out: Path) -> None:
        self._base, self._dataset, self._seeds, self._out = base, dataset, seeds, out
        self._content = content_of(dataset)
        self._index = RunIndex(out, dataset)
        self._taken: dict[Path, str] = {}
        self.runs: dict[str, PlannedRun] = {}

    def add(
        self, method: Mapping[str, Any], variation: Variation, domains: tuple[str, ...], is_inner: bool = False
    ) -> None:
        """Add the runs of one method under one variation, a run per seed; runs that are in the plan already are kept."""
        varied = with_variation(self._base, method, variation)
        if varied is None:
            return
        config, names = varied
        for seed in self._seeds:
            complete = resolve(config.model_copy(update={"target": domains, "seed": seed}), self._dataset)
            # Unless it is given, their number follows from the cores of the process that executes the run.
            complete = complete.model_copy(update={"workers": config.workers})
            key = key_of(complete, self._dataset.domains, content=self._content)
            if key in self.runs:
                continue
            values = {name: _value(complete, name) for name in names}
            folder = self._index.find(key) or self._free(key, self._out / _place(complete, values))
            self._taken[folder.path] = key
            shown = {short_name(name, values): value for name, value in values.items()}
            self.runs[key] = PlannedRun(
                complete, folder, key, self._out, shown, variation.name, is_inner, dict(variation.settings)
            )

    def repeat(self, planned: PlannedRun) -> None:
        """Add a run that is planned already with each of the seeds."""
        for seed in self._seeds:
            complete = planned.config.model_copy(update={"seed": seed})
            key = key_of(complete, self._dataset.domains, content=self._content)
            beside = planned.folder.path.with_name(f"seed-{seed}")
            folder = self._index.find(key) or self._free(key, beside)
            self._taken[folder.path] = key
            self.runs[key] = replace(planned, config=complete, folder=folder, key=key)

    def _free(self, key: str, preferred: Path) -> RunFolder:
        return next(
            RunFolder(path)
            for path in candidate_folders(preferred, key)
            if self._taken.get(path, key) == key and is_free(RunFolder(path), key, self._dataset.domains, self._content)
        )


def _place(config: RunConfig, varied: Mapping[str, Any]) -> Path:
    """Return the path of a run below the benchmark's folder: method, varied settings, held-out domains, seed."""
    words = ",".join(f"{short_name(name, varied)}={_word(value)}" for name, value in varied.items())
    between = (folder_name(words if len(words) <= _LONGEST else f"{words[:_LONGEST]}..."),) if words else ()
    target = "+".join(map(folder_name, config.target or ())) or "none"
    return Path(config.method_name, *between, target, f"seed-{config.seed}")


def varied_texts(plan: Sequence[PlannedRun]) -> list[Mapping[str, str]]:
    """Return of each run the settings that vary in a plan, as a table shows them, and ``variant`` where some have names."""
    named = any(planned.variant for planned in plan)
    return [
        ({"variant": planned.variant} if named else {})
        | {name: value_text(value) for name, value in planned.variation.items()}
        for planned in plan
    ]


def value_text(value: Any) -> str:
    """Return a setting's value as a table shows it."""
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return " ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)


def _word(value: Any) -> str:
    return Path(value).name if isinstance(value, str | Path) else value_text(value)


def _value(config: RunConfig, name: str) -> Any:
    return config.method.get(name.removeprefix(METHOD)) if name.startswith(METHOD) else getattr(config, name)


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
