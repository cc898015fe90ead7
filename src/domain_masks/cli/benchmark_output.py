"""The output of ``dmg benchmark``: a plan and its cost, the table, and the selected settings."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from domain_masks.cli.standard_output import say, table_lines
from domain_masks.records.counts import counted

if TYPE_CHECKING:
    import pandas as pd

    from domain_masks.data import ImageDataset
    from domain_masks.experiments import BenchmarkOutcome, PlannedRun
    from domain_masks.experiments.selection import Selection
    from domain_masks.progress import ConsoleReporter
    from domain_masks.records.config import RunConfig
    from domain_masks.settings.benchmark_lists import BenchmarkLists

_STATES = ("done", "failed", "started", "pending")
_RED = "\x1b[1;31m"
_PLAIN = "\x1b[0m"


def show_plan(
    plan: Sequence[PlannedRun], dataset: ImageDataset, out: Path, at_once: int, reporter: ConsoleReporter
) -> None:
    """Print every run with its state, and the cost of the pending ones."""
    from domain_masks.experiments.estimate import estimate, lines  # noqa: PLC0415
    from domain_masks.experiments.launchers.local import shared_cores  # noqa: PLC0415
    from domain_masks.training.defaults import note_on_method  # noqa: PLC0415
    from domain_masks.training.weight_average import describe_average  # noqa: PLC0415

    for run in plan:
        say(f"{run.state:<7} {run.name}" + (" (for the selection rule)" if run.is_inner else ""))
    for note in dict.fromkeys(note_on_method(run.config) for run in plan):
        if note:
            say(note)
    for phrase in filter(None, dict.fromkeys(describe_average(run.config) for run in plan)):
        say(f"models are averages of the weights: {phrase}")
    states = [run.state for run in plan]
    by_state = (f"{states.count(state)} {state}" for state in _STATES if state in states)
    say(f"{counted(len(plan), 'run')}: {', '.join(by_state)}")
    cost = estimate(plan, dataset, reporter, at_once, max(1, shared_cores() // at_once))
    place = next(folder for folder in (out.absolute(), *out.absolute().parents) if folder.is_dir())
    for line in lines(cost, shutil.disk_usage(place).free, at_once):
        say(line)


def show_search(
    settings: RunConfig, dataset: ImageDataset, lists: BenchmarkLists, out: Path, planned: Sequence[PlannedRun]
) -> list[PlannedRun]:
    """Print the ranges of a search and its runs; returns its plan, with the selected settings where they are known already."""
    from domain_masks.experiments.plan import draws_of, repeated  # noqa: PLC0415
    from domain_masks.experiments.search import winners  # noqa: PLC0415
    from domain_masks.records.collection import read_run  # noqa: PLC0415

    first, others = lists.seeds[0], lists.seeds[1:]
    say(
        f"search: {lists.search} settings of each method, the first its defaults, drawn and run with seed {first}, from"
    )
    for name, (ranges, _) in draws_of(settings, dataset, lists).items():
        words = "; ".join(f"{setting} {within}" for setting, within in ranges.items())
        say(f"  {name}: {words or 'nothing: it is run with its defaults'}")
    if not others:
        return list(planned)
    seeds = " ".join(map(str, others))
    if all(run.state == "done" for run in planned):
        chosen = winners([(run, read_run(run.folder)) for run in planned])
        say(f"what source validation chose is run with {'seed' if len(others) == 1 else 'seeds'} {seeds} as well")
        return [*planned, *repeated(settings, dataset, lists, out, chosen)]
    pairs = len({(run.config.method_name, run.config.target) for run in planned})
    say(
        f"what source validation chooses of each method and held-out domain is run with {seeds} as well: "
        f"{counted(pairs * len(others), 'run')} more, not counted below"
    )
    return list(planned)


def show_outcome(
    outcome: BenchmarkOutcome, dataset: str, out: Path, rule: str | None, *, is_search: bool = False
) -> int:
    """Print the table of a benchmark, the settings that ``rule`` selected, and failed runs; returns the exit status.

    For a search only the selected settings are shown: all draws are in ``accuracies.csv`` and ``search.json``.
    """
    from domain_masks.calls.benchmark import table_of  # noqa: PLC0415
    from domain_masks.records import write_whole  # noqa: PLC0415
    from domain_masks.report.tables.table import frame_text  # noqa: PLC0415

    shown = [(planned, record) for planned, record in outcome.runs if not planned.is_inner]
    chosen = None
    if shown:
        seeds = {record.results.seed for _, record in shown}
        table = table_of(outcome)
        write_whole(out / "accuracies.csv", frame_text(table))
        say(f"\naccuracy in percent on {dataset}; columns: held-out domain" + (", mean ± sd" if len(seeds) > 1 else ""))
        if not is_search:
            say("\n".join(_summary_lines(table)))
        chosen = _show_selection(outcome, out, rule, is_search)
        say(f"runs: {out}")
    problems = chosen.problems if chosen is not None else []
    for problem in problems:
        say(f"nothing chosen: {problem}")
    for name, message in outcome.failed.items():
        say(f"failed: {name}: {message}")
    return 1 if outcome.failed or problems else 0


def _show_selection(outcome: BenchmarkOutcome, out: Path, rule: str | None, is_search: bool) -> Selection | None:
    """Print the settings that a rule selects; nothing where no settings vary."""
    from domain_masks.evaluation.selection_rules import RULES_IN_WORDS, SELECTION_RULES  # noqa: PLC0415
    from domain_masks.experiments.selection import CHOSEN, select  # noqa: PLC0415
    from domain_masks.records import write_whole  # noqa: PLC0415
    from domain_masks.report.tables.table import frame_text  # noqa: PLC0415

    chosen = select(outcome.runs, rule or SELECTION_RULES[0], with_single=is_search)
    if chosen is None or chosen.table.empty:
        return chosen
    write_whole(out / "selected.csv", frame_text(chosen.table))
    name = chosen.rule.upper() if chosen.is_oracle else chosen.rule
    warning = ": no result to report, only a bound" if chosen.is_oracle else ""
    lines = [f"\nchosen by {name}, the {RULES_IN_WORDS[chosen.rule]}{warning}"]
    lines += _summary_lines(chosen.table.drop(columns=CHOSEN))
    settings = chosen.table[["method", "target", CHOSEN]].drop_duplicates()
    lines += [f"  held out {target}: {label}" for _, target, label in settings.itertuples(index=False)]
    for line in lines:
        say(_in_red(line) if chosen.is_oracle else line)
    return chosen


def _summary_lines(table: pd.DataFrame) -> list[str]:
    """Return the lines of a table of means, and what "overall" is over where it is not over all columns."""
    from domain_masks.experiments.benchmark_table import overall_in_words, summary  # noqa: PLC0415

    words = overall_in_words(table)
    return [*table_lines(summary(table), index=False), *([words] if words else [])]


def _in_red(line: str) -> str:
    """Return a line in red where the output is a terminal with colours; elsewhere unchanged."""
    shows = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return f"{_RED}{line}{_PLAIN}" if shows else line
