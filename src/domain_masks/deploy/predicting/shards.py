"""Prediction in shards, which processes that see one file system compute in any order, and which are then joined.

A shard is some consecutive images. Its rows and its unreadable images are one file, written whole or not at all beside the
output; the name holds a hash of all that they depend on, so that finished shards are found again and no other is used.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from io import BytesIO
from itertools import islice
from pathlib import Path

from domain_masks.deploy.predicting.image_paths import Unreadable
from domain_masks.deploy.predicting.locating import locate
from domain_masks.deploy.predicting.model import Model
from domain_masks.deploy.predicting.model_loading import load
from domain_masks.deploy.predicting.prediction_writers import PARTS, Problems, Rows
from domain_masks.errors import InputError
from domain_masks.methods.plugins import load_plugins
from domain_masks.records.file_state import digest_of_file
from domain_masks.records.files import PARTIAL, writing
from domain_masks.records.run_folder import MODEL_CARD, MODEL_WEIGHTS

SHARD = 4096
"""Images of a shard."""
_ENDING = ".shard"
_VERSION = 1


@dataclass(frozen=True)
class ShardWork:
    """What all shards have in common; it can be sent to another process.

    - ``model``: a path, or a name on the Hub; ``content``: the hash of its files, see :func:`content_of_model`
    - ``ensemble``, ``top``, ``batch``, ``workers``, ``device``: see :meth:`Model.stream`
    - ``suffix``: of the output, which says its format
    - ``folder``: to which relative paths of images belong
    - ``plugins``: that the command has named
    """

    model: str
    content: str
    ensemble: str
    top: int
    suffix: str
    batch: int
    workers: int | None
    device: str
    folder: str
    plugins: tuple[str, ...] = ()


@dataclass(frozen=True)
class Shard:
    """Some consecutive images, and the file of their rows."""

    items: tuple[str | Unreadable, ...]
    file: Path

    @property
    def is_finished(self) -> bool:
        """Whether the rows have been written."""
        return self.file.is_file()


def shard_folder(out: Path) -> Path:
    """Return the folder of the shards of an output."""
    return out.with_name(f"{out.name}.shards")


def shards(items: Iterable[str | Unreadable], size: int, work: ShardWork, folder: Path) -> Iterator[Shard]:
    """Divide ``items`` into shards of ``size``, taken as they are needed.

    The file's name depends on the shard's number, its images (paths, sizes, times of change), the model and what is predicted.
    """
    rest = iter(items)
    # How they are computed changes no row.
    kept = {name: value for name, value in asdict(work).items() if name not in ("batch", "workers", "device", "model")}
    number = 0
    while some := tuple(islice(rest, size)):
        digest = hashlib.sha256(json.dumps([_VERSION, kept, [_identity(item) for item in some]]).encode()).hexdigest()
        yield Shard(some, folder / f"{number:08d}-{digest[:32]}{_ENDING}")
        number += 1


def _identity(item: str | Unreadable) -> list[str | int]:
    if isinstance(item, Unreadable):
        return [item.name, item.reason]
    try:
        state = os.stat(item)  # noqa: PTH116 - pathlib would normalise the path
    except (OSError, ValueError):
        return [item]
    return [item, state.st_size, state.st_mtime_ns]


def compute_shard(work: ShardWork, shard: Shard) -> None:
    """Predict the images of a shard and write its file.

    Raises InputError if the model here is another one, and RunFolderError if the file cannot be written.
    """
    if not Path(work.folder).is_dir():
        raise InputError(f"{work.folder!r} is no folder here: expected the same folders on all nodes")
    rows, problems = BytesIO(), list[tuple[str, str]]()
    with contextlib.chdir(work.folder):
        load_plugins(work.plugins)
        model = _model(work.model, work.content, work.device)
        writer = part_writer(rows, work, model)
        predictions = model.stream(
            shard.items,
            ensemble=work.ensemble,
            top=work.top,
            batch=work.batch,
            workers=work.workers,
            unreadable=lambda problem: problems.append((problem.name, problem.reason)),
        )
        count = 0
        for prediction in predictions:
            writer.add(prediction)
            count += 1
    with writing(shard.file) as temporary, temporary.open("wb") as stream:
        stream.write(json.dumps({"count": count, "problems": problems}).encode() + b"\n" + rows.getbuffer())


def part_writer(stream: BytesIO, work: ShardWork, model: Model) -> Rows:
    """Return the writer of rows that :meth:`Rows.append` joins."""
    return PARTS[work.suffix](stream, work.top, model.sources if model.has_votes else ())


@functools.lru_cache(maxsize=1)
def _model(source: str, content: str, device: str) -> Model:
    """Load a model once per process; raises InputError if it is not the one of ``content``."""
    folder = locate(source)
    if content_of_model(folder) != content:
        raise InputError(
            f"the model {source!r} differs between this node and the one that started the prediction: expected the same files "
            "on all nodes, in a folder that all of them see"
        )
    return load(folder, device=device)


def content_of_model(folder: Path) -> str:
    """Return the hash of a model's two files."""
    return "-".join(digest_of_file(folder / name) for name in (MODEL_CARD, MODEL_WEIGHTS))


def compute_in_turn(work: ShardWork, pending: Iterable[Shard]) -> Iterator[Shard]:
    """Compute the shards in this process, one after the other, and yield each when it is finished."""
    for shard in pending:
        compute_shard(work, shard)
        yield shard


Launch = Callable[[ShardWork, Iterable[Shard]], Iterator[Shard]]
"""Computes shards, taken as they are needed, and yields each when its file is written; see :func:`compute_in_turn`."""


def finish(work: ShardWork, every: Iterable[Shard], launch: Launch, kept: list[Path]) -> Iterator[Shard]:
    """Yield every shard once it is finished, at once if it was before; ``kept`` receives their files in order."""
    ready: list[Shard] = []

    def pending() -> Iterator[Shard]:
        for shard in every:
            kept.append(shard.file)
            if shard.is_finished:
                ready.append(shard)
            else:
                yield shard

    for shard in launch(work, pending()):
        yield from ready
        ready.clear()
        yield shard
    yield from ready


def join(files: Iterable[Path], rows: Rows, problems: Problems) -> int:
    """Append the shards to an output in their order; returns the number of rows."""
    count = 0
    for file in files:
        with file.open("rb") as stream:
            head = json.loads(stream.readline())
            rows.append(stream)
        for name, reason in head["problems"]:
            problems.add(Unreadable(name, reason))
        count += head["count"]
    return count


def clear(folder: Path) -> None:
    """Remove all shards of an output, those of earlier inputs included."""
    for file in [*folder.glob(f"*{_ENDING}"), *folder.glob(f".*{PARTIAL}{_ENDING}")]:
        file.unlink(missing_ok=True)
