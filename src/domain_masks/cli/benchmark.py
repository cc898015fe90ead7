"""``dmg benchmark``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from domain_masks.records.config import RunConfig
from domain_masks.records.run_folder import RunFolder, folder_name
from domain_masks.settings.lists import BenchmarkLists, check_benchmark
from domain_masks.settings.mistakes import BENCHMARK_LISTS

if TYPE_CHECKING:
    from domain_masks.experiments import Outcome, PlannedRun

_OF_ONE_RUN = ("target", "seed")


def parser() -> Parser:
    """Return the parser of ``dmg benchmark``."""
    parser = parser_for(
        "benchmark",
        "Trains and measures every method with every domain held out in turn, for every seed, and shows the table. Runs "
        "that are done are skipped, so an interrupted benchmark goes on with the same command. A run that fails is "
        "listed and does not stop the others (exit status 1).",
        """
        dmg benchmark --methods dmg aggregate
        dmg benchmark --dataset pacs --root data --methods dmg aggregate multi_headed --seeds 0 1 2 --out runs/pacs
        """,
    )
    out = parser.add_argument("--out", metavar="DIR", help="folder of all runs (default: runs/benchmark-DATASET)")
    completed_by(out, folders=True)
    parser.add_argument("--methods", nargs="+", metavar="NAME", help="methods (default: dmg aggregate)")
    parser.add_argument("--targets", nargs="+", metavar="DOMAIN", help="held-out domains (default: each in turn)")
    parser.add_argument("--seeds", nargs="+", metavar="N", help="seeds (default: 0)")
    parser.add_argument("--dry_run", action="store_true", help="show the runs and which are done, and end")
    parser.add_argument("--print_config", action="store_true", help="show all settings as YAML and end")
    add_output(parser)
    add_settings(parser, without=(*_OF_ONE_RUN, "method", "devices"))
    return parser


def main(arguments: Sequence[str]) -> int:
    """Leave one domain out, for methods x targets x seeds."""
    words, method_flags = split_method_flags(arguments)
    flags, mistakes = parser().parse_and_note(words)
    reporter = reporter_for(flags)
    values = settings_from(flags, {})
    given = {name: values.pop(name, None) for name in BENCHMARK_LISTS}
    lists = {name: value if (value := getattr(flags, name)) is not None else given[name] for name in BENCHMARK_LISTS}
    ignored = [name for name in _OF_ONE_RUN if values.pop(name, None) is not None]
    if ignored:
        reporter.say(f"note: not used from {flags.config}: {', '.join(ignored)}. See --targets and --seeds")
    settings, checked = check_benchmark(values, lists, method_flags, mistakes)

    from domain_masks.data import load_dataset  # noqa: PLC0415
    from domain_masks.experiments import leave_one_out, work_off  # noqa: PLC0415

    dataset = load_dataset(settings.dataset, settings.root)
    out = Path(flags.out) if flags.out else Path("runs") / f"benchmark-{folder_name(dataset.name)}"
    RunFolder(out).refuse_file()
    plan = leave_one_out(settings, dataset, checked.methods, checked.targets, checked.seeds, out)
    if flags.print_config:
        say(_yaml(settings, checked, plan).rstrip())
        return 0
    if flags.dry_run:
        for planned in plan:
            say(f"{planned.state:<6}{planned.name}")
        say(f"{len(plan)} runs, {sum(planned.state == 'done' for planned in plan)} done")
        return 0
    if flags.verbose:
        reporter.say(_yaml(settings, checked, plan).rstrip())
    with resumable("What is done is kept; go on with the same command"):
        outcome = work_off(plan, dataset, reporter)
    return _show(outcome, dataset.name, len(checked.seeds), out)


def _show(outcome: Outcome, dataset: str, seeds: int, out: Path) -> int:
    from domain_masks.experiments import accuracy_table, summary  # noqa: PLC0415
    from domain_masks.records import write_whole  # noqa: PLC0415

    if outcome.results:
        table = accuracy_table(outcome.results)
        write_whole(out / "accuracies.csv", table.to_csv(index=False))
        say(f"\naccuracy in percent on {dataset}; columns: held-out domain" + (", mean ± sd" if seeds > 1 else ""))
        say(summary(table).to_string(index=False))
        say(f"runs: {out}")
    for name, message in outcome.failed.items():
        say(f"failed: {name}: {message}")
    return 1 if outcome.failed else 0


def _yaml(base: RunConfig, lists: BenchmarkLists, plan: Sequence[PlannedRun]) -> str:
    """Return the whole benchmark as one YAML: its lists, every method with all its settings, and what the runs share."""
    from domain_masks.records.config import SCHEMA  # noqa: PLC0415
    from domain_masks.records.yaml_files import to_yaml  # noqa: PLC0415

    shared = plan[0].config.to_dict()
    # What a method without masks does not take is for the others all the same.
    shared |= {name: base.to_dict()[name] for name in ("sites", "lr_masks")}
    methods: dict[str, Any] = {planned.config.method_name: planned.config.method for planned in plan}
    targets = dict.fromkeys(",".join(planned.config.target or ()) for planned in plan)
    content = {"methods": list(methods.values()), "targets": list(targets), "seeds": lists.seeds}
    rest = {name: value for name, value in shared.items() if name not in (*_OF_ONE_RUN, "method")}
    return to_yaml({"schema": SCHEMA, **content, **rest})
