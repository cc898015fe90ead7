"""``dmg benchmark``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from domain_masks.cli.flags import add_settings, parser_for, say, settings_from, split_method_flags
from domain_masks.cli.interruption import resumable
from domain_masks.errors import InputError
from domain_masks.records.config import parse_config, read_config


def main(arguments: Sequence[str]) -> int:
    """Leave one domain out, for methods x targets x seeds."""
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
    parser.add_argument("--out", metavar="DIR", help="folder of all runs (default: runs/benchmark-DATASET)")
    parser.add_argument("--methods", nargs="+", metavar="NAME", help="methods (default: dmg aggregate)")
    parser.add_argument("--targets", nargs="+", metavar="DOMAIN", help="held-out domains (default: each in turn)")
    parser.add_argument("--seeds", nargs="+", metavar="N", help="seeds (default: 0)")
    parser.add_argument("--dry_run", action="store_true", help="show the runs and which are done, and end")
    parser.add_argument("--quiet", action="store_true", help="show the table alone")
    add_settings(parser, without=("target", "seed", "method", "devices"))
    words, method_settings = split_method_flags(arguments)
    flags = parser.parse(words)
    lists = {name: getattr(flags, name) for name in ("methods", "targets", "seeds")}
    if flags.config:
        given = read_config(Path(flags.config))
        lists = {name: value if value is not None else given.get(name) for name, value in lists.items()}
    values = settings_from(flags, method_settings)
    for name in lists:
        values.pop(name, None)
    seeds = [_seed(text) for text in lists["seeds"] or ["0"]]
    settings = parse_config(values)
    if settings.devices != 1:
        raise InputError(
            "devices: expected 1 in a benchmark, whose runs use one device each; got " + str(settings.devices)
        )

    from domain_masks.data import load_dataset  # noqa: PLC0415
    from domain_masks.experiments import accuracy_table, leave_one_out, summary, work_off  # noqa: PLC0415
    from domain_masks.progress import ConsoleReporter  # noqa: PLC0415

    dataset = load_dataset(settings.dataset, settings.root)
    out = Path(flags.out) if flags.out else Path("runs") / f"benchmark-{dataset.name}"
    methods = list(lists["methods"] or ["dmg", "aggregate"])
    plan = leave_one_out(settings, dataset, methods, lists["targets"] or (), seeds, out)
    if flags.dry_run:
        for planned in plan:
            say(f"{planned.state:<6}{planned.name}")
        say(f"{len(plan)} runs, {sum(planned.state == 'done' for planned in plan)} done")
        return 0
    with resumable("What is done is kept; go on with the same command"):
        outcome = work_off(plan, dataset, ConsoleReporter(flags.quiet))
    if outcome.results:
        table = accuracy_table(outcome.results)
        from domain_masks.records import write_whole  # noqa: PLC0415

        write_whole(out / "accuracies.csv", table.to_csv(index=False))
        say(
            f"\naccuracy in percent on {dataset.name}; columns: held-out domain"
            + (", mean ± sd" if len(seeds) > 1 else "")
        )
        say(summary(table).to_string(index=False))
        say(f"runs: {out}")
    for name, message in outcome.failed.items():
        say(f"failed: {name}: {message}")
    return 1 if outcome.failed else 0


def _seed(text: object) -> int:
    try:
        number = int(str(text))
    except ValueError:
        number = -1
    if number < 0:
        raise InputError(f"seeds: expected whole numbers from 0, as in `--seeds 0 1 2`, got {text!r}")
    return number
