"""``dmg evaluate``."""

from __future__ import annotations

from collections.abc import Sequence

from domain_masks.cli.flags import command_parser, given_flags, reporter_for
from domain_masks.cli.parser import Parser
from domain_masks.cli.standard_output import say
from domain_masks.settings.command import check_command
from domain_masks.settings.finished_runs import EvaluateSettings


def parser() -> Parser:
    """Return the parser of ``dmg evaluate``."""
    return command_parser(
        "evaluate",
        "Predicts all validation, test and held-out images again from the best checkpoint of a run, and rewrites its "
        "predictions.npz, results.json and model files. With --tta or --adapt the results go to a folder of their own.",
        """
        dmg evaluate runs/sketch
        dmg evaluate runs/sketch --ensemble masks
        dmg evaluate runs/sketch --ensemble weighted
        dmg evaluate runs/sketch --ensemble known:photo
        dmg evaluate runs/sketch --calibrate
        dmg evaluate runs/sketch --tta flips --out runs/sketch-flips
        dmg evaluate runs/sketch --adapt tent --out runs/sketch-tent
        """,
        EvaluateSettings,
        config="a YAML in place of the run's own config.yaml, with the same settings where they decide what is computed",
    )


def main(arguments: Sequence[str]) -> int:
    """Evaluate a run again from its best checkpoint."""
    flags, mistakes = parser().parse_and_note(arguments)
    settings = check_command(EvaluateSettings, given_flags(flags, EvaluateSettings), mistakes)

    from domain_masks.calls.evaluate import evaluated  # noqa: PLC0415

    finished = evaluated(settings, reporter_for(flags), flags.config)

    from domain_masks.cli.results import accuracy_line, detail_lines, metric_lines, result_lines  # noqa: PLC0415
    from domain_masks.evaluation import metrics  # noqa: PLC0415
    from domain_masks.records.ensemble_names import PREDICTION_ENSEMBLE  # noqa: PLC0415
    from domain_masks.records.results import MEASURE_TITLES  # noqa: PLC0415

    results = finished.results
    temperatures = results.temperatures or {}
    if settings.ensemble is None:
        lines = [
            *result_lines(results),
            *metric_lines(results.metrics or {}, temperatures, PREDICTION_ENSEMBLE),
        ]
    else:
        measured = metrics(finished.predictions, temperatures, settings.ensemble)
        lines = [
            f"{'ensemble':<13} {settings.ensemble}",
            *(accuracy_line(MEASURE_TITLES[name], shown) for name, shown in finished.accuracies.items()),
            *metric_lines(measured, temperatures, settings.ensemble),
        ]
    if results.protocol.test_time is not None:
        lines.append(f"{'test time':<13} {results.protocol.test_time}")
    for line in [*lines, *(detail_lines(finished.results) if flags.verbose else ())]:
        say(line)
    return 0
