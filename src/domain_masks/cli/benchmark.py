"""``dmg benchmark``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from domain_masks.calls.benchmark import OF_ONE_RUN, execute, prepare
from domain_masks.cli.benchmark_output import show_outcome, show_plan, show_search
from domain_masks.cli.flags import command_parser, given_flags, reporter_for, settings_from
from domain_masks.cli.interruption import resumable
from domain_masks.cli.parser import Parser, split_method_flags
from domain_masks.cli.standard_output import say
from domain_masks.errors import combine_errors
from domain_masks.records.config import RunConfig
from domain_masks.settings.benchmark import BENCHMARK_LISTS, BenchmarkOptions, BenchmarkRuns
from domain_masks.settings.benchmark_lists import check_benchmark
from domain_masks.settings.command import validated


def parser() -> Parser:
    """Return the parser of ``dmg benchmark``."""
    return command_parser(
        "benchmark",
        "Trains and measures every method with every domain held out in turn, for every seed and every setting that is "
        "varied, and prints the table. Runs that are done are skipped, so the same command resumes an interrupted benchmark. A "
        "run that fails is listed and does not stop the others (exit status 1).",
        """
        dmg benchmark --methods dmg aggregate
        dmg benchmark --dataset pacs --root data --methods dmg aggregate multi_headed --seeds 0 1 2 --out runs/pacs
        dmg benchmark --methods dmg --sweep method.overlap_weight=0,1e-3,1e-2,1e-1,1 --jobs 4
        dmg benchmark --methods aggregate --variants optimizer=adam optimizer=sgd,lr=1e-3 --dry_run
        dmg benchmark --methods dmg aggregate mldg dann --search 8 --seeds 0 1 2 --out runs/search
        """,
        BenchmarkRuns,
        RunConfig,
        BenchmarkOptions,
        without=(*OF_ONE_RUN, "method", "devices"),
    )


def main(arguments: Sequence[str]) -> int:
    """Run leave-one-domain-out over methods x targets x seeds x varied settings."""
    words, method_flags = split_method_flags(arguments)
    flags, mistakes = parser().parse_and_note(words)
    reporter = reporter_for(flags)
    values = settings_from(flags, {})
    lists = _lists(flags, values)
    ignored = [name for name in OF_ONE_RUN if values.pop(name, None) is not None]
    if ignored:
        reporter.say(f"note: not used from {flags.config}: {', '.join(ignored)}. See --targets and --seeds")
    options, wrong = validated(BenchmarkOptions, given_flags(flags, BenchmarkOptions))
    settings, checked = check_benchmark(values, lists, method_flags, [*mistakes, *wrong])
    if options is None:
        raise combine_errors(wrong)

    prepared = prepare(settings, checked, options, reporter)
    if options.print_config:
        say(prepared.yaml.rstrip())
        return 0
    dataset, out = prepared.dataset, prepared.out
    if options.dry_run:
        planned = prepared.plan
        if checked.search is not None:
            planned = show_search(settings, dataset, checked, out, planned)
        show_plan(planned, dataset, out, options.jobs or 1, reporter)
        return 0
    if flags.verbose:
        reporter.say(prepared.yaml.rstrip())
    with resumable("Finished runs are kept; the same command resumes"):
        outcome = execute(prepared, reporter)
    return show_outcome(outcome, dataset.name, out, checked.select, is_search=checked.search is not None)


def _lists(flags: argparse.Namespace, values: dict[str, Any]) -> dict[str, Any]:
    """Take the settings that only a benchmark has out of those of its YAML; flags take precedence."""
    below = {name: values.pop(name) for name in BENCHMARK_LISTS if name in values}
    return {**below, **given_flags(flags, BenchmarkRuns)}
