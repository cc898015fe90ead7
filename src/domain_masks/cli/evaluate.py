"""``dmg evaluate``."""

from __future__ import annotations

from collections.abc import Sequence

from domain_masks.cli.flags import parser_for, say
from domain_masks.cli.results import result_lines


def main(arguments: Sequence[str]) -> int:
    """Measure a run again, from its best checkpoint."""
    parser = parser_for(
        "evaluate",
        "Predicts all validation, test and held-out pictures again from the best checkpoint of a run, and writes its "
        "predictions.npz, results.json and model files anew.",
        "dmg evaluate runs/sketch",
    )
    parser.add_argument("run", metavar="RUN", help="a run folder")
    parser.add_argument("--config", metavar="FILE", help="settings in YAML in place of the run's own config.yaml")
    parser.add_argument("--root", metavar="DIR", help="where the dataset lies now")
    parser.add_argument("--device", metavar="auto|cpu|cuda", help="where to compute")
    parser.add_argument("--quiet", action="store_true", help="show the result alone")
    flags = parser.parse(arguments)

    from domain_masks.progress import ConsoleReporter  # noqa: PLC0415
    from domain_masks.training import evaluate  # noqa: PLC0415

    changes = {name: value for name in ("root", "device") if (value := getattr(flags, name)) is not None}
    finished = evaluate(flags.run, ConsoleReporter(flags.quiet), changes=changes, config_file=flags.config)
    for line in result_lines(finished.results):
        say(line)
    return 0
