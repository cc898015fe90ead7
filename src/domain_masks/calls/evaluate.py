"""``dm.evaluate``, and what ``dmg evaluate`` does before it prints."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from domain_masks.calls.described import read_keywords, with_settings_of
from domain_masks.calls.typed_keywords import EvaluateKeywords
from domain_masks.errors import RunFolderError
from domain_masks.keywords import named_keywords
from domain_masks.settings.finished_runs import EvaluateSettings

if TYPE_CHECKING:
    from domain_masks.calls.trained_run import TrainedRun
    from domain_masks.progress import Reporter


@with_settings_of(EvaluateKeywords, EvaluateSettings)
@named_keywords
def evaluate(
    run: str | os.PathLike[str],
    *,
    config: str | os.PathLike[str] | None = None,
    quiet: bool = False,
    **settings: Unpack[EvaluateKeywords],
) -> TrainedRun:
    """Predict all images of a run again from its best checkpoint, and rewrite its results, as ``dmg evaluate`` does.

    - ``run``: the run, or its folder
    - ``config``: a YAML in place of the run's own
    - ``quiet``: whether nothing is printed

    ``accuracies`` of the returned run are those under ``ensemble``. With ``tta`` or ``adapt`` the run itself is not
    changed: the returned one is that in ``out``, which has no model.

    Raises RunFolderError where the folder holds no run with a checkpoint, InputError for settings that cannot be used.
    """
    from domain_masks.progress import ConsoleReporter  # noqa: PLC0415

    checked = read_keywords(EvaluateSettings, {"run": run, **settings})
    return evaluated(checked, ConsoleReporter(quiet), None if config is None else Path(config))


def evaluated(settings: EvaluateSettings, reporter: Reporter, config_file: Path | str | None = None) -> TrainedRun:
    """Evaluate a run again; ``config_file`` is a YAML in place of its own."""
    from domain_masks.training.opening import open_finished  # noqa: PLC0415

    changes = settings.changes
    dataset = open_finished(settings.run, changes, config_file)

    from domain_masks.evaluation import can_be_weighted, check_ensemble  # noqa: PLC0415
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

    from domain_masks.calls.trained_run import TrainedRun  # noqa: PLC0415
    from domain_masks.training import evaluate as evaluate_run  # noqa: PLC0415

    if settings.ensemble == WEIGHTED_ENSEMBLE:
        changes["domain_classifier"] = True
    finished = evaluate_run(
        settings.run,
        reporter,
        dataset=dataset,
        changes=changes,
        config_file=config_file,
        test_time=settings.test_time,
        out=settings.out,
    )
    return TrainedRun(finished.folder, finished.results, settings.ensemble)
