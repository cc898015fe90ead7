"""A fair search for settings: source validation selects among the draws of every method, and the result is published.

The held-out domains are not used before the selection; see :mod:`domain_masks.experiments.random_search`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from domain_masks.data import ImageDataset
from domain_masks.errors import DomainMasksError
from domain_masks.evaluation.selection import selected, source_validation_accuracy
from domain_masks.evaluation.selection_rules import SOURCE_VALIDATION
from domain_masks.experiments.benchmark import BenchmarkOutcome
from domain_masks.experiments.plan import Draws, PlannedRun, draws_of, plan, repeated
from domain_masks.records.collection import RunRecord
from domain_masks.records.config import RunConfig
from domain_masks.records.results import held_out_name
from domain_masks.records.search import NAME, Drawn, Searched, SearchRecord
from domain_masks.settings.benchmark_lists import BenchmarkLists


def search(
    base: RunConfig,
    dataset: ImageDataset,
    lists: BenchmarkLists,
    out: Path,
    carry_out: Callable[[Sequence[PlannedRun]], BenchmarkOutcome],
) -> BenchmarkOutcome:
    """Run all draws with the first seed, publish what source validation selects, and run that with the other seeds.

    - ``carry_out``: executes a plan and skips finished runs, so that an interrupted search is resumed

    Returns the outcome of both plans. ``search.json`` is written before the second one starts.
    """
    tried = carry_out(plan(base, dataset, lists, out))
    chosen = winners(tried.runs)
    search_record(draws_of(base, dataset, lists), tried.runs, chosen, lists.seeds).write(out / NAME)
    again = carry_out(repeated(base, dataset, lists, out, chosen))
    return BenchmarkOutcome([*tried.runs, *again.runs], tried.failed | again.failed)


def winners(runs: Sequence[tuple[PlannedRun, RunRecord]]) -> list[PlannedRun]:
    """Return, for each method and held-out domain, the run whose settings source validation selects, in the order of ``runs``.

    Where a record cannot be read the selection is left out here, and reported where it is shown.
    """
    by_folder = {record.folder.path: planned for planned, record in runs}
    chosen = []
    for method in dict.fromkeys(planned.config.method_name for planned, _ in runs):
        records = [record for planned, record in runs if planned.config.method_name == method]
        try:
            results = selected(records, SOURCE_VALIDATION)
        except DomainMasksError:
            continue
        chosen += [by_folder[result.records[0].folder.path] for result in results]
    return chosen


def search_record(
    draws: Mapping[str, Draws],
    runs: Sequence[tuple[PlannedRun, RunRecord]],
    chosen: Sequence[PlannedRun],
    seeds: Sequence[int],
) -> SearchRecord:
    """Return the record of a search.

    - ``draws``: by method
    - ``runs``: the finished ones of the first seed, which the selection compares
    - ``chosen``: see :func:`winners`
    """
    methods = {}
    for method, (ranges, listed) in draws.items():
        places = {_settings_key(variation.settings): number for number, variation in reversed(list(enumerate(listed)))}
        validation: list[dict[str, float]] = [{} for _ in listed]
        picked = {}
        mine = [(planned, record) for planned, record in runs if planned.config.method_name == method]
        for planned, record in mine:
            number = places[_settings_key(planned.drawn)]
            try:
                validation[number][held_out_name(record.results.targets)] = source_validation_accuracy(record)
            except DomainMasksError:  # reported where the selection is shown
                continue
        for planned in chosen:
            if planned.config.method_name == method:
                picked[held_out_name(planned.config.target or ())] = places[_settings_key(planned.drawn)]
        methods[method] = Searched(
            ranges={name: str(within) for name, within in ranges.items()},
            draws=[
                Drawn(settings=dict(variation.settings), validation=accuracies)
                for variation, accuracies in zip(listed, validation, strict=True)
            ],
            chosen=picked,
        )
    return SearchRecord(seed=seeds[0], seeds=list(seeds), rule=SOURCE_VALIDATION, methods=methods)


def _settings_key(settings: Mapping[str, Any]) -> str:
    return repr(sorted(settings.items()))
