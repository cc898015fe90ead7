"""``dmg benchmark``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domain_masks.cli.benchmark_output import show_outcome, show_plan, show_search
from domain_masks.cli.flags import (
    Parser,
    add_output,
    add_settings,
    completed_by,
    parser_for,
    reporter_for,
    say,
    settings_from,
    split_method_flags,
)
from domain_masks.cli.interruption import resumable
from domain_masks.records.run_folder import RunFolder, folder_name
from domain_masks.settings.benchmark_settings import check_benchmark
from domain_masks.settings.validation import BENCHMARK_LISTS

if TYPE_CHECKING:
    from domain_masks.experiments.launchers import Launcher

_OF_ONE_RUN = ("target", "seed")
LAUNCHERS = ("local", "ray")
RULES = ("source-validation", "leave-one-domain-out", "oracle")
"""Those of :mod:`domain_masks.evaluation.selection`, which the help does not import."""


def parser() -> Parser:
    """Return the parser of ``dmg benchmark``."""
    parser = parser_for(
        "benchmark",
        "Trains and measures every method with every domain held out in turn, for every seed and every setting that is "
        "varied, and shows the table. Runs that are done are skipped, so an interrupted benchmark goes on with the same "
        "command. A run that fails is listed and does not stop the others (exit status 1).",
        """
        dmg benchmark --methods dmg aggregate
        dmg benchmark --dataset pacs --root data --methods dmg aggregate multi_headed --seeds 0 1 2 --out runs/pacs
        dmg benchmark --methods dmg --sweep method.overlap_weight=0,1e-3,1e-2,1e-1,1 --jobs 4
        dmg benchmark --methods aggregate --variants optimizer=adam optimizer=sgd,lr=1e-3 --dry_run
        dmg benchmark --methods dmg aggregate mldg dann --search 8 --seeds 0 1 2 --out runs/search
        """,
    )
    out = parser.add_argument("--out", metavar="DIR", help="folder of all runs (default: runs/benchmark-DATASET)")
    completed_by(out, folders=True)
    _add_lists(parser.add_argument_group("runs"))
    _add_launchers(parser.add_argument_group("where"))
    parser.add_argument(
        "--dry_run",
        action="store_true",
        help="show the runs, which are done, the disk that the others need and an estimate of the time, and end",
    )
    parser.add_argument("--print_config", action="store_true", help="show all settings as YAML and end")
    add_output(parser)
    add_settings(parser, without=(*_OF_ONE_RUN, "method", "devices"))
    return parser


def _add_lists(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--methods", nargs="+", metavar="NAME", help="methods (default: dmg aggregate)")
    group.add_argument("--targets", nargs="+", metavar="DOMAIN", help="held-out domains (default: each in turn)")
    group.add_argument("--seeds", nargs="+", metavar="N", help="seeds (default: 0)")
    group.add_argument(
        "--sweep",
        nargs="+",
        action="extend",
        metavar="NAME=V,V",
        help="values of a setting, each of which is run; of several settings every combination",
    )
    group.add_argument(
        "--variants",
        nargs="+",
        action="extend",
        metavar="NAME=V,NAME=V",
        help="settings that are run one by one, in place of every combination; each with what is swept",
    )
    group.add_argument(
        "--search",
        metavar="N",
        help="try N settings of every method, its defaults and N - 1 drawn from its ranges (see `dmg methods NAME`), with the "
        "first seed; what source validation chooses is run with all seeds",
    )
    rule = group.add_argument(
        "--select",
        metavar="RULE",
        help=f"what chooses among swept settings: {', '.join(RULES)} (default: {RULES[0]})",
    )
    completed_by(rule, words=RULES)


def _add_launchers(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--jobs", metavar="N", help="most runs at once (default: 1; with ray: one per GPU or node)")
    launcher = group.add_argument("--launcher", metavar="|".join(LAUNCHERS), help="this machine, or a Ray cluster")
    completed_by(launcher, words=LAUNCHERS)
    group.add_argument(
        "--ray_address", metavar="ADDRESS", help="of the cluster: auto, HOST:PORT, or local to start one here"
    )


def main(arguments: Sequence[str]) -> int:
    """Leave one domain out, for methods x targets x seeds x what is varied."""
    words, method_flags = split_method_flags(arguments)
    flags, mistakes = parser().parse_and_note(words)
    reporter = reporter_for(flags)
    values = settings_from(flags, {})
    lists = _lists(flags, values)
    ignored = [name for name in _OF_ONE_RUN if values.pop(name, None) is not None]
    if ignored:
        reporter.say(f"note: not used from {flags.config}: {', '.join(ignored)}. See --targets and --seeds")
    jobs = _jobs(flags, mistakes)
    settings, checked = check_benchmark(values, lists, method_flags, mistakes)

    from domain_masks.data import load_dataset  # noqa: PLC0415
    from domain_masks.data.splits import check_held_out, domains_named  # noqa: PLC0415
    from domain_masks.data.verification import identified  # noqa: PLC0415
    from domain_masks.experiments.plan import plan  # noqa: PLC0415
    from domain_masks.experiments.settings_file import benchmark_yaml, keep  # noqa: PLC0415
    from domain_masks.training.opening import require_weights  # noqa: PLC0415

    dataset = load_dataset(settings.dataset, settings.root)
    for note in dataset.notes:
        reporter.say(f"note: {note}")
    out = Path(flags.out) if flags.out else Path("runs") / f"benchmark-{folder_name(dataset.name)}"
    RunFolder(out).refuse_file()
    require_weights(settings)
    for target in checked.targets:
        check_held_out(dataset, domains_named((target,), dataset.domains), fewest_sources=1)
    # Runs are known by what their images hold.
    dataset = identified(
        dataset, settings, reporter, decode_images=False if flags.dry_run or flags.print_config else None
    )
    planned = plan(settings, dataset, checked, out)
    yaml = benchmark_yaml(settings, checked, planned)
    if flags.print_config:
        say(yaml.rstrip())
        return 0
    if flags.dry_run:
        if checked.search is not None:
            planned = show_search(settings, dataset, checked, out, planned)
        show_plan(planned, dataset, out, jobs or 1, reporter)
        return 0
    if flags.verbose:
        reporter.say(yaml.rstrip())

    from domain_masks.experiments import execute_plan  # noqa: PLC0415
    from domain_masks.experiments.search import search  # noqa: PLC0415

    keep(out, yaml)
    launcher = _launcher(flags, jobs, settings.device != "cpu")
    with resumable("What is done is kept; go on with the same command"):
        if checked.search is not None:
            outcome = search(
                settings, dataset, checked, out, lambda runs: execute_plan(runs, dataset, reporter, launcher)
            )
        else:
            outcome = execute_plan(planned, dataset, reporter, launcher)
    return show_outcome(outcome, dataset.name, out, checked.select, is_search=checked.search is not None)


def _lists(flags: argparse.Namespace, values: dict[str, Any]) -> dict[str, Any]:
    """Take what only a benchmark has out of the settings of its YAML; flags win."""
    given = {name: values.pop(name, None) for name in BENCHMARK_LISTS}
    return {
        name: value if (value := getattr(flags, name, None)) is not None else given[name] for name in BENCHMARK_LISTS
    }


def _jobs(flags: argparse.Namespace, mistakes: list[str]) -> int | None:
    """Return how many runs are carried out at once; adds a line per mistake in where they are."""
    if flags.launcher not in (None, *LAUNCHERS):
        mistakes.append(f"--launcher: expected {' or '.join(LAUNCHERS)}, got {flags.launcher!r}")
    if flags.ray_address is not None and flags.launcher != "ray":
        mistakes.append("--ray_address: is of --launcher ray: add that, or leave it out")
    if flags.jobs is None:
        return None
    if not flags.jobs.isdecimal() or not int(flags.jobs):
        mistakes.append(f"--jobs: expected a whole number from 1, got {flags.jobs!r}")
        return None
    return int(flags.jobs)


def _launcher(flags: argparse.Namespace, jobs: int | None, uses_gpus: bool) -> Launcher | None:
    if flags.launcher == "ray":
        from domain_masks.experiments.launchers.ray import RayCluster  # noqa: PLC0415

        return RayCluster(flags.ray_address or "auto", jobs, uses_gpus)
    if jobs is not None and jobs > 1:
        from domain_masks.experiments.launchers.local import LocalProcesses  # noqa: PLC0415

        return LocalProcesses(jobs, uses_gpus)
    return None
