"""``dmg evaluate``."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from domain_masks.cli.flags import command_parser, given_flags, reporter_for
from domain_masks.cli.parser import Parser
from domain_masks.cli.standard_output import say
from domain_masks.errors import RunFolderError
from domain_masks.settings.command import check_command
from domain_masks.settings.finished_runs import EvaluateSettings


def parser() -> Parser:
    """Return the parser of ``dmg evaluate``."""
    return command_parser(
        "evaluate",
        "Predicts all validation, test and held-out images again from the best checkpoint of a run, and rewrites its "
        "predictions.npz, results.json and model files.",
        """
        dmg evaluate runs/sketch
        dmg evaluate runs/sketch --ensemble masks
        dmg evaluate runs/sketch --ensemble weighted
        dmg evaluate runs/sketch --ensemble known:photo
        """,
        EvaluateSettings,
        config="a YAML that replaces the run's own config.yaml",
    )


def main(arguments: Sequence[str]) -> int:
    """Evaluate a run again from its best checkpoint."""
    flags, mistakes = parser().parse_and_note(arguments)
    settings = check_command(EvaluateSettings, given_flags(flags, EvaluateSettings), mistakes)

    from domain_masks.training.opening import open_finished  # noqa: PLC0415

    changes = settings.changes
    dataset = open_finished(settings.run, changes, flags.config)

    from domain_masks.evaluation import accuracies_under, can_be_weighted, check_ensemble  # noqa: PLC0415
    from domain_masks.records import Predictions, RunFolder  # noqa: PLC0415
    from domain_masks.records.ensemble_names import WEIGHTED_ENSEMBLE  # noqa: PLC0415

    before = RunFolder(settings.run).predictions
    if settings.ensemble is not None and before.is_file():
        # An unavailable ensemble is refused before everything is predicted again.
        with suppress(RunFolderError):
            predictions = Predictions.load(before)
            # The domain classifier is fitted again, also for a run that had none.
            if not (settings.ensemble == WEIGHTED_ENSEMBLE and can_be_weighted(predictions)):
                check_ensemble(predictions, settings.ensemble)

    from domain_masks.cli.results import accuracy_line, detail_lines, result_lines  # noqa: PLC0415
    from domain_masks.records.results import MEASURE_TITLES  # noqa: PLC0415
    from domain_masks.training import evaluate  # noqa: PLC0415

    if settings.ensemble == WEIGHTED_ENSEMBLE:
        changes["domain_classifier"] = True
    finished = evaluate(settings.run, reporter_for(flags), dataset=dataset, changes=changes, config_file=flags.config)
    if settings.ensemble is None:
        lines = list(result_lines(finished.results))
    else:
        results = finished.results
        held_out = "" if results.out_of_domain is None else results.out_of_domain.split
        shown = accuracies_under(Predictions.load(finished.folder.predictions), settings.ensemble, held_out)
        if results.in_domain is not None and "in_domain" in shown:
            shown["in_domain"] = shown["in_domain"].model_copy(update={"split": results.in_domain.split})
        lines = [
            f"{'ensemble':<13} {settings.ensemble}",
            *(accuracy_line(MEASURE_TITLES[name], shown[name]) for name in shown),
        ]
    for line in [*lines, *(detail_lines(finished.results) if flags.verbose else ())]:
        say(line)
    return 0
