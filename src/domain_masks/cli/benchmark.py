"""``dmg benchmark``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domain_masks.cli.benchmark_output import show_outcome, show_plan, show_search
from domain_masks.cli.flags import command_parser, given_flags, reporter_for, settings_from
from domain_masks.cli.interruption import resumable
from domain_masks.cli.parser import Parser, split_method_flags
from domain_masks.cli.standard_output import say
from domain_masks.errors import combine_errors
from domain_masks.records.config import RunConfig
from domain_masks.records.run_folder import RunFolder, folder_name
from domain_masks.settings.benchmark import BENCHMARK_LISTS, BenchmarkOptions, BenchmarkRuns
from domain_masks.settings.benchmark_lists import check_benchmark
from domain_masks.settings.command import validated

if TYPE_CHECKING:
    from domain_masks.experiments.launchers import Launcher

_OF_ONE_RUN = ("target", "seed")


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
        without=(*_OF_ONE_RUN, "method", "devices"),
    )


def main(arguments: Sequence[str]) -> int:
    """Run leave-one-domain-out over methods x targets x seeds x varied settings."""
    words, method_flags = split_method_flags(arguments)
    flags, mistakes = parser().parse_and_note(words)
    reporter = reporter_for(flags)
    values = settings_from(flags, {})
    lists = _lists(flags, values)
    ignored = [name for name in _OF_ONE_RUN if values.pop(name, None) is not None]
    if ignored:
        reporter.say(f"note: not used from {flags.config}: {', '.join(ignored)}. See --targets and --seeds")
    options, wrong = validated(BenchmarkOptions, given_flags(flags, BenchmarkOptions))
    settings, checked = check_benchmark(values, lists, method_flags, [*mistakes, *wrong])
    if options is None:
        raise combine_errors(wrong)

    from domain_masks.data import load_dataset  # noqa: PLC0415
    from domain_masks.data.splits import check_held_out, domains_named  # noqa: PLC0415
    from domain_masks.data.validation_halves import check_in_domain_test  # noqa: PLC0415
    from domain_masks.data.verification import identified  # noqa: PLC0415
    from domain_masks.experiments.plan import plan  # noqa: PLC0415
    from domain_masks.experiments.settings_file import benchmark_yaml, keep  # noqa: PLC0415
    from domain_masks.training.defaults import note_on_recipe  # noqa: PLC0415
    from domain_masks.training.opening import require_weights  # noqa: PLC0415

    dataset = load_dataset(settings.dataset, settings.root)
    for note in dataset.notes:
        reporter.say(f"note: {note}")
    out = options.out or Path("runs") / f"benchmark-{folder_name(dataset.name)}"
    RunFolder(out).refuse_file()
    require_weights(settings)
    for target in checked.targets:
        check_held_out(dataset, domains_named((target,), dataset.domains), fewest_sources=1)
    check_in_domain_test(dataset, settings.in_domain_test)
    # Runs are identified by the content of their images.
    dataset = identified(
        dataset, settings, reporter, decode_images=False if options.dry_run or options.print_config else None
    )
    planned = plan(settings, dataset, checked, out)
    for note in dict.fromkeys(filter(None, (note_on_recipe(run.config) for run in planned))):
        reporter.say(note)
    yaml = benchmark_yaml(settings, checked, planned)
    if options.print_config:
        say(yaml.rstrip())
        return 0
    if options.dry_run:
        if checked.search is not None:
            planned = show_search(settings, dataset, checked, out, planned)
        show_plan(planned, dataset, out, options.jobs or 1, reporter)
        return 0
    if flags.verbose:
        reporter.say(yaml.rstrip())

    from domain_masks.experiments import execute_plan  # noqa: PLC0415
    from domain_masks.experiments.search import search  # noqa: PLC0415

    keep(out, yaml)
    launcher = _launcher(options, settings.device != "cpu")
    with resumable("Finished runs are kept; the same command resumes"):
        if checked.search is not None:
            outcome = search(
                settings, dataset, checked, out, lambda runs: execute_plan(runs, dataset, reporter, launcher)
            )
        else:
            outcome = execute_plan(planned, dataset, reporter, launcher)
    return show_outcome(outcome, dataset.name, out, checked.select, is_search=checked.search is not None)


def _lists(flags: argparse.Namespace, values: dict[str, Any]) -> dict[str, Any]:
    """Take the settings that only a benchmark has out of those of its YAML; flags take precedence."""
    below = {name: values.pop(name) for name in BENCHMARK_LISTS if name in values}
    return {**below, **given_flags(flags, BenchmarkRuns)}


def _launcher(options: BenchmarkOptions, uses_gpus: bool) -> Launcher | None:
    jobs = options.jobs
    if options.launcher == "ray":
        from domain_masks.experiments.launchers.ray import RayCluster  # noqa: PLC0415

        return RayCluster(options.ray_address or "auto", jobs, uses_gpus)
    if jobs is not None and jobs > 1:
        from domain_masks.experiments.launchers.local import LocalProcesses  # noqa: PLC0415

        return LocalProcesses(jobs, uses_gpus)
    return None
