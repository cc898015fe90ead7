"""``dmg predict --launcher ray``: the images in shards, computed on a cluster and joined into one file."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from domain_masks.cli.interruption import resumable
from domain_masks.errors import InputError
from domain_masks.records.files import is_there

if TYPE_CHECKING:
    from domain_masks.deploy import Model
    from domain_masks.deploy.predicting.image_paths import Unreadable
    from domain_masks.deploy.predicting.prediction_writers import Problems
    from domain_masks.deploy.predicting.shards import Launch, ShardWork
    from domain_masks.progress import Reporter
    from domain_masks.settings.predict import PredictSettings


def shard_work(settings: PredictSettings, out: Path, located: Path, top: int, plugins: Sequence[str] = ()) -> ShardWork:
    """Return what all shards of a command have in common.

    - ``out``: the file of the rows; ``located``: the folder of the model's files
    - ``top``: how many classes a row lists
    """
    from domain_masks.deploy.predicting.shards import ShardWork, content_of_model  # noqa: PLC0415

    return ShardWork(
        # A name on the Hub is downloaded on every node; a path is one that all of them see.
        model=str(located.absolute()) if is_there(Path(settings.model).expanduser()) else settings.model,
        content=content_of_model(located),
        ensemble=settings.ensemble,
        top=top,
        suffix=out.suffix.lower(),
        batch=settings.batch,
        workers=settings.workers,
        device=settings.device,
        folder=str(Path.cwd()),
        plugins=tuple(plugins),
    )


def predict_in_shards(
    model: Model,
    work: ShardWork,
    settings: PredictSettings,
    listing: tuple[Iterator[str | Unreadable], int | None],
    reporter: Reporter,
    launch: Launch | None = None,
) -> tuple[int, Problems]:
    """Write a row for every readable image; returns their number, and the problems of the others.

    - ``model``: loaded here, for its sources
    - ``launch``: where the shards are computed; by default on the Ray cluster of the settings
    """
    from domain_masks.deploy.predicting import shards as parts  # noqa: PLC0415
    from domain_masks.deploy.predicting.prediction_writers import problems_to_file, rows_to_file  # noqa: PLC0415
    from domain_masks.experiments.launchers.ray_shards import RayShards  # noqa: PLC0415
    from domain_masks.experiments.run_locks import LOCKS, locked  # noqa: PLC0415

    out = settings.out
    if out is None:
        raise InputError("out: expected the file of the rows")
    images, total = listing
    folder, size = parts.shard_folder(out.absolute()), settings.shard or parts.SHARD
    launch = launch or RayShards(settings.ray_address or "auto", settings.jobs, reporter).launch
    files: list[Path] = []
    with resumable(f"Finished shards are kept in {folder}; the same command resumes"), locked(folder, "shards") as mine:
        if not mine:
            raise InputError(
                f"another process computes the shards in {str(folder)!r}: wait until it has ended, or name another --out"
            )
        every = parts.shards(images, size, work, folder)
        finished = parts.finish(work, every, launch, files)
        for _ in reporter.track(finished, None if total is None else -(-total // size), "predicting shards"):
            pass
        sources = model.sources if model.has_votes else ()
        with problems_to_file(settings.errors) as problems, rows_to_file(out, work.top, sources) as rows:
            count = parts.join(files, rows, problems)
        parts.clear(folder)
    with suppress(OSError):
        shutil.rmtree(folder / LOCKS)
        folder.rmdir()
    return count, problems
