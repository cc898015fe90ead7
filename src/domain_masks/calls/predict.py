"""``dm.predict``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from domain_masks.calls.described import read_keywords, with_settings_of
from domain_masks.calls.typed_keywords import PredictKeywords
from domain_masks.errors import InputError
from domain_masks.keywords import named_keywords
from domain_masks.settings.predict import PredictSettings

if TYPE_CHECKING:
    from domain_masks.deploy import Model, PredictionList, Unreadable

DEFAULT_TOP = 5
_SHOWN = 20
_OF_THE_COMMAND = ("launcher", "ray_address", "jobs", "shard", "null")


@with_settings_of(PredictKeywords, PredictSettings)
@named_keywords
def predict(
    model: str | os.PathLike[str] | Model,
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    quiet: bool = False,
    **settings: Unpack[PredictKeywords],
) -> PredictionList:
    """Predict the class of every image, as ``dmg predict`` does; for images in memory there is ``model.predict``.

    - ``model``: a model, a run, its folder, ``model.safetensors``, or a name on the Hub: hf:owner/name
    - ``paths``: files, folders (with all below) or patterns
    - ``quiet``: whether nothing is printed

    Returns the predictions, a table in a notebook; with ``out`` the rows are written there one by one instead, and the list
    is empty (``images`` says how many). With ``labels="folder"`` its ``labels`` has the accuracy, by class and by mask.
    Unreadable images get no prediction and are listed in ``unreadable``.

    Raises InputError where there is no image or no model, and for a setting that is wrong. On a cluster only the command
    predicts, with ``--launcher ray``.
    """
    from domain_masks import deploy  # noqa: PLC0415
    from domain_masks.deploy.predicting.folder_labels import FolderLabels  # noqa: PLC0415
    from domain_masks.deploy.predicting.image_paths import Images  # noqa: PLC0415
    from domain_masks.deploy.predicting.prediction_writers import problems_to_file, rows_to_file  # noqa: PLC0415
    from domain_masks.progress import ConsoleReporter  # noqa: PLC0415

    reporter = ConsoleReporter(quiet)
    is_loaded = isinstance(model, deploy.Model)
    checked = read_keywords(PredictSettings, {"model": "a model" if is_loaded else model, "paths": paths, **settings})
    total = _number_of_images(checked)
    used = model if isinstance(model, deploy.Model) else deploy.load(_source(checked.model), device=checked.device)
    top = min(checked.top or DEFAULT_TOP, len(used.classes))
    predictions = deploy.PredictionList(out=checked.out)
    if checked.labels is not None:
        predictions.labels = FolderLabels.of(used.classes, checked.paths)
    with ExitStack() as files:
        problems = files.enter_context(problems_to_file(checked.errors))
        rows = None
        if checked.out is not None:
            votes = used.sources if used.has_votes else ()
            rows = files.enter_context(rows_to_file(checked.out, top, votes, checked.test_time is not None))

        def unreadable(image: Unreadable) -> None:
            problems.add(image)
            predictions.unreadable.append(image)

        stream = used.stream(
            Images(checked.paths),
            ensemble=checked.ensemble,
            top=top,
            batch=checked.batch,
            workers=checked.workers,
            unreadable=unreadable,
            test_time=checked.test_time,
        )
        for prediction in reporter.track(stream, total, "predicting"):
            predictions.images += 1
            if predictions.labels is not None:
                predictions.labels.add(prediction)
            if rows is None:
                predictions.append(prediction)
            else:
                rows.add(prediction)
    for line in [*(predictions.labels.lines() if predictions.labels is not None else []), *problems.lines()]:
        reporter.say(line)
    return predictions


def _number_of_images(settings: PredictSettings) -> int:
    """Return how many images there are to predict; raises InputError where there is none, and for settings of the command."""
    from domain_masks.deploy.predicting.image_paths import Unreadable, find_images  # noqa: PLC0415
    from domain_masks.records.files import is_there  # noqa: PLC0415

    of_the_command = [name for name in _OF_THE_COMMAND if getattr(settings, name)]
    if of_the_command:
        raise InputError(f"{', '.join(of_the_command)}: only the command `dmg predict` has this: leave it out")
    if "-" in settings.paths:
        raise InputError(
            "paths: standard input (-) is read by `dmg predict` alone: expected files, folders or patterns"
        )
    found, missing = 0, []
    for item in find_images(settings.paths):
        if isinstance(item, Unreadable):
            missing.append(f"{item.name!r}: {item.reason}")
        elif found or is_there(item):
            found += 1
        else:
            missing.append(f"{item!r}: there is no such file or folder")
    if not found:
        raise InputError(
            f"no image to predict: {'; '.join(missing[:_SHOWN])}. Expected files, folders, or patterns as in 'photos/**/*.jpg'"
        )
    return found


def _source(model: str) -> str | Path:
    from domain_masks.deploy.predicting.locating import locate  # noqa: PLC0415

    return locate(model)
