"""``dmg predict``."""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from domain_masks.cli.flags import command_parser, read_command, reporter_for
from domain_masks.cli.interruption import resumable
from domain_masks.cli.parser import Parser
from domain_masks.cli.predict_cluster import predict_in_shards, shard_work
from domain_masks.cli.standard_output import is_closed
from domain_masks.errors import InputError
from domain_masks.records.files import is_there
from domain_masks.settings.predict import PredictSettings

if TYPE_CHECKING:
    from domain_masks.deploy import Model, Prediction
    from domain_masks.deploy.predicting.folder_labels import FolderLabels
    from domain_masks.deploy.predicting.image_paths import Unreadable
    from domain_masks.deploy.predicting.prediction_writers import Problems, Rows
    from domain_masks.progress import Reporter

_SHOWN = 20
DEFAULT_TOP = 5


def parser() -> Parser:
    """Return the parser of ``dmg predict``."""
    return command_parser(
        "predict",
        "Predicts the class of every image, with its probability, the vote of each source domain's mask and the nearest source "
        "domain. Rows are written as they are computed, so memory does not grow with the number of images. Unreadable images "
        "get no row, are listed at the end, and make the exit status 1.",
        """
        dmg predict runs/sketch photos/ --out votes.csv
        dmg predict runs/sketch a.jpg b.png "more/**/*.jpg" --ensemble masks --top 3
        find photos -name '*.jpg' -print0 | dmg predict runs/sketch - -0 --out votes.jsonl --errors unread.csv
        dmg predict hf:owner/name photos/ --ensemble known:photo
        dmg predict runs/sketch new_hospital/ --labels folder --out votes.csv
        dmg predict runs/sketch sketches/ --adapt tent --out votes.csv
        dmg predict runs/sketch /shared/photos --out /shared/votes.csv --launcher ray --ray_address HEAD:6379
        """,
        PredictSettings,
    )


def main(arguments: Sequence[str]) -> int:
    """Predict images; 1 if some could not be read."""
    flags, settings = read_command(parser(), arguments, PredictSettings)
    if settings.out is None and is_closed():
        raise InputError("standard output is closed, and rows would be lost: name a file with --out, or leave it open")

    from domain_masks.deploy.predicting.locating import locate  # noqa: PLC0415

    # Model and images are located before the model is loaded, which takes a while.
    folder = locate(settings.model)
    listing, no_image = None, None
    try:
        listing = _listed_images(settings)
    except InputError as error:
        # Where images are named one by one, an unusable model is reported first.
        if not all(Path(path).suffix for path in settings.paths):
            raise
        no_image = error

    from domain_masks.deploy import load  # noqa: PLC0415

    reporter = reporter_for(flags)
    # The nodes of a cluster may have GPUs where this machine has none.
    model = load(folder, device="cpu" if settings.launcher == "ray" else settings.device)
    model.check_ensemble(settings.ensemble)
    if flags.verbose:
        reporter.say(repr(model))
    if listing is None:
        raise no_image or InputError("no image to predict")
    labels = _labels(model, settings)
    if settings.launcher == "ray" and settings.out is not None:
        top = min(settings.top or DEFAULT_TOP, len(model.classes))
        work = shard_work(settings, settings.out, folder, top, flags.plugin or ())
        count, problems = predict_in_shards(model, work, settings, listing, reporter)
    else:
        count, problems = _predict(model, settings, listing, reporter, labels)
    if count and settings.test_time is not None:
        reporter.say(f"test time: {settings.test_time.in_words()}; probabilities are not calibrated")
    elif count and settings.ensemble in model.card.temperatures:
        reporter.say(model.about_probabilities(settings.ensemble))
    if count and model.has_votes:
        reporter.say(model.about_nearest(settings.test_time))
    for line in [*(labels.lines() if labels is not None else []), *problems.lines()]:
        reporter.say(line)
    where = f": {settings.out}" if settings.out is not None else ""
    reporter.say(f"{count:,} image{'' if count == 1 else 's'} predicted{where}")
    return 1 if problems.count else 0


def _labels(model: Model, settings: PredictSettings) -> FolderLabels | None:
    from domain_masks.deploy.predicting.folder_labels import FolderLabels  # noqa: PLC0415

    return None if settings.labels is None else FolderLabels.of(model.classes, settings.paths)


def _predict(
    model: Model,
    settings: PredictSettings,
    listing: tuple[Iterator[str | Unreadable], int | None],
    reporter: Reporter,
    labels: FolderLabels | None,
) -> tuple[int, Problems]:
    """Write a row for every readable image; returns their number, and the problems of the others."""
    from domain_masks.cli.prediction_table import is_terminal  # noqa: PLC0415
    from domain_masks.deploy.predicting.prediction_writers import problems_to_file  # noqa: PLC0415

    images, total = listing
    shows_table = settings.out is None and is_terminal(sys.stdout)
    top = settings.top or (1 if shows_table else DEFAULT_TOP)
    kept = "The rows until here are complete" if settings.out is None else f"{settings.out} is not written"
    count = 0
    with (
        resumable(kept),
        problems_to_file(settings.errors) as problems,
        _rows(settings, model, top, shows_table) as rows,
        closing(_stream(model, images, top, settings, problems)) as predictions,
    ):
        # A table on the terminal shows the progress by itself.
        for prediction in predictions if shows_table else reporter.track(predictions, total, "predicting"):
            rows.add(prediction)
            if labels is not None:
                labels.add(prediction)
            count += 1
    return count, problems


def _stream(
    model: Model, images: Iterator[str | Unreadable], top: int, settings: PredictSettings, problems: Problems
) -> Generator[Prediction, None, None]:
    from domain_masks.deploy.predicting.image_paths import STANDARD_INPUT, Images  # noqa: PLC0415

    # A separate generator, so that closing it where writing fails ends the workers that read.
    yield from model.stream(
        # Those on standard input can be read once only.
        images if settings.adapt is None or STANDARD_INPUT in settings.paths else Images(settings.paths),
        ensemble=settings.ensemble,
        top=top,
        batch=settings.batch,
        workers=settings.workers,
        unreadable=problems.add,
        test_time=settings.test_time,
    )


def _listed_images(settings: PredictSettings) -> tuple[Iterator[str | Unreadable], int | None]:
    """Return the images to predict, and their number where it is known in advance.

    Raises InputError where there is none.
    """
    from domain_masks.deploy.predicting.image_paths import STANDARD_INPUT, Unreadable, find_images  # noqa: PLC0415

    if settings.paths.count(STANDARD_INPUT) > 1:
        raise InputError("standard input (-) is named twice: expected it once")
    total = None
    if STANDARD_INPUT not in settings.paths:
        # Walking the folders twice is cheap compared with decoding; keeping a list of a million paths is not.
        total = sum(not isinstance(item, Unreadable) for item in find_images(settings.paths))
    items = find_images(_places(settings))
    problems: list[Unreadable] = []
    for item in items:
        # A list on standard input may be long: its first path is enough.
        if not isinstance(item, Unreadable) and (is_there(item) or STANDARD_INPUT in settings.paths):
            return chain(problems, [item], items), total
        problems.append(item if isinstance(item, Unreadable) else Unreadable(item, "there is no such file or folder"))
    reasons = "; ".join(f"{item.name!r}: {item.reason}" for item in problems[:_SHOWN])
    raise InputError(
        f"no image to predict: {reasons or 'standard input lists none'}. Expected files, folders, patterns in quotes, or - "
        "for a list of paths on standard input"
    )


def _places(settings: PredictSettings) -> Iterator[str]:
    from domain_masks.deploy.predicting.image_paths import STANDARD_INPUT, listed_places  # noqa: PLC0415

    for path in settings.paths:
        if path != STANDARD_INPUT:
            yield path
        elif sys.stdin is not None:
            yield from listed_places(sys.stdin.buffer, settings.null)


def _rows(settings: PredictSettings, model: Model, asked: int, shows_table: bool) -> AbstractContextManager[Rows]:
    from domain_masks.cli.prediction_table import TableRows  # noqa: PLC0415
    from domain_masks.deploy.predicting.prediction_writers import rows_to_file, rows_to_stream  # noqa: PLC0415

    top, sources = min(asked, len(model.classes)), model.sources if model.has_votes else ()
    marked = settings.test_time is not None
    if settings.out is not None:
        return rows_to_file(settings.out, top, sources, marked)
    if shows_table:
        return nullcontext(TableRows(sys.stdout.buffer, top, sources, model.classes))
    sys.stdout.flush()
    return rows_to_stream(sys.stdout.buffer, top, sources, marked)
