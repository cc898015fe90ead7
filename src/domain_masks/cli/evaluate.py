"""``dmg evaluate``."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from domain_masks.cli.flags import Parser, add_config, add_output, completed_by, parser_for, reporter_for, say
from domain_masks.errors import RunFolderError


def parser() -> Parser:
    """Return the parser of ``dmg evaluate``."""
    parser = parser_for(
        "evaluate",
        "Predicts all validation, test and held-out images again from the best checkpoint of a run, and writes its "
        "predictions.npz, results.json and model files anew.",
        """
        dmg evaluate runs/sketch
        dmg evaluate runs/sketch --ensemble masks
        dmg evaluate runs/sketch --ensemble weighted
        dmg evaluate runs/sketch --ensemble known:photo
        """,
    )
    completed_by(parser.add_argument("run", metavar="RUN", help="a run folder"), folders=True)
    parser.add_argument(
        "--ensemble",
        metavar="predictions|masks|weighted|known:DOMAIN",
        help="how masks are combined in the numbers that are shown; results.json holds all (default: predictions)",
    )
    add_config(parser, "settings in YAML in place of the run's own config.yaml")
    completed_by(
        parser.add_argument("--dataset", metavar="NAME|DIR", help="the dataset, where it has moved"), folders=True
    )
    completed_by(parser.add_argument("--root", metavar="DIR", help="where the dataset lies now"), folders=True)
    device = parser.add_argument("--device", metavar="auto|cpu|cuda", help="where to compute")
    completed_by(device, words=("auto", "cpu", "cuda"))
    add_output(parser)
    return parser


def main(arguments: Sequence[str]) -> int:
    """Measure a run again, from its best checkpoint."""
    flags = parser().parse(arguments)

    from domain_masks.training.opening import open_finished  # noqa: PLC0415

    changes = {name: value for name in ("dataset", "root", "device") if (value := getattr(flags, name)) is not None}
    dataset = open_finished(flags.run, changes, flags.config)

    from domain_masks.evaluation import accuracies_under, can_be_weighted, check_ensemble  # noqa: PLC0415
    from domain_masks.records import Predictions, RunFolder  # noqa: PLC0415
    from domain_masks.records.predictions import WEIGHTED_ENSEMBLE  # noqa: PLC0415

    before = RunFolder(flags.run).predictions
    if flags.ensemble is not None and before.is_file():
        # A name that the run does not have is known before everything is predicted again, unless that is to be mended.
        with suppress(RunFolderError):
            there = Predictions.load(before)
            # The domain classifier is fitted anew, also for a run that had none.
            if not (flags.ensemble == WEIGHTED_ENSEMBLE and can_be_weighted(there)):
                check_ensemble(there, flags.ensemble)

    from domain_masks.cli.results import TITLES, accuracy_line, detail_lines, result_lines  # noqa: PLC0415
    from domain_masks.training import evaluate  # noqa: PLC0415

    if flags.ensemble == WEIGHTED_ENSEMBLE:
        changes["domain_classifier"] = True
    finished = evaluate(flags.run, reporter_for(flags), dataset=dataset, changes=changes, config_file=flags.config)
    if flags.ensemble is None:
        lines = list(result_lines(finished.results))
    else:
        results = finished.results
        held_out = "" if results.out_of_domain is None else results.out_of_domain.split
        shown = accuracies_under(Predictions.load(finished.folder.predictions), flags.ensemble, held_out)
        lines = [f"{'ensemble':<13} {flags.ensemble}", *(accuracy_line(TITLES[name], shown[name]) for name in shown)]
    for line in [*lines, *(detail_lines(finished.results) if flags.verbose else ())]:
        say(line)
    return 0
