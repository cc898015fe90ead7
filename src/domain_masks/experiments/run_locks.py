"""Who carries out a run: one process at a time, of all benchmarks that write into one folder, and in which folder it lies.

Every run has a lock below ``.locks``, which the system releases when its process ends, however that comes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from filelock import FileLock, Timeout

from domain_masks.data import ImageDataset, content_of
from domain_masks.errors import RunFolderError
from domain_masks.experiments.run_index import keys_in
from domain_masks.records import RunFolder, write_json, write_whole
from domain_masks.records.config import RunConfig
from domain_masks.records.identity import INPUTS, inputs_of

LOCKS = ".locks"


@contextmanager
def locked(out: Path, key: str) -> Iterator[bool]:
    """Lock a run within the block; gives False, without waiting, where another process has it.

    Raises RunFolderError where nothing can be written below ``out``.
    """
    lock = _lock(out, key)
    try:
        with _explaining(out):
            lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def is_locked(out: Path, key: str) -> bool:
    """Whether another process carries out a run at this moment."""
    with locked(out, key) as free:
        return not free


def assign(out: Path, preferred: RunFolder, key: str, config: RunConfig, dataset: ImageDataset) -> RunFolder:
    """Return the folder of a run that is locked, with its settings and inputs in it, so that no other takes the folder.

    A folder that another benchmark gave this run is kept. Raises RunFolderError where it cannot be made.
    """
    with _explaining(out), _lock(out, "folders"):
        folder, content = assigned(out, key), content_of(dataset)
        if folder is None or key not in keys_in(folder, dataset.domains, content):
            candidates = (RunFolder(path) for path in candidate_folders(preferred.path, key))
            folder = next(candidate for candidate in candidates if is_free(candidate, key, dataset.domains, content))
        folder.refuse_file()
        if not folder.config.is_file():
            # Another dataset of the same names has the same settings: what tells them apart is noted with them.
            write_json(folder.environment, {INPUTS: inputs_of(config, dataset.domains, content)})
            config.write(folder.config)
        write_whole(_note(out, key), folder.path.relative_to(out).as_posix())
        return folder


def assigned(out: Path, key: str) -> RunFolder | None:
    """Return the folder that a run was given; None where it has none yet."""
    try:
        return RunFolder(out / _note(out, key).read_text(encoding="utf-8"))
    except OSError:
        return None


def candidate_folders(preferred: Path, key: str) -> Iterator[Path]:
    """Yield the paths that a run may have, the preferred one first, then with its key behind."""
    yield preferred
    yield preferred.with_name(f"{preferred.name}-{key[:8]}")
    for number in count(2):
        yield preferred.with_name(f"{preferred.name}-{key}-{number}")


def is_free(folder: RunFolder, key: str, domains: Iterable[str], content: str | None = None) -> bool:
    """Whether a folder can hold the run with this key: it is not there yet, holds no settings, or those of this run."""
    if folder.path.exists() and not folder.path.is_dir():
        return False
    return not folder.config.exists() or key in keys_in(folder, domains, content)


def _lock(out: Path, name: str) -> FileLock:
    with _explaining(out):
        (out / LOCKS).mkdir(parents=True, exist_ok=True)
    return FileLock(out / LOCKS / f"{name}.lock")


def _note(out: Path, key: str) -> Path:
    return out / LOCKS / f"{key}.folder"


@contextmanager
def _explaining(out: Path) -> Iterator[None]:
    """Turn what the operating system refuses into a message about the benchmark's folder."""
    try:
        yield
    except Timeout:  # an OSError too, and no mistake
        raise
    except OSError as error:
        raise RunFolderError(
            f"cannot write below {out}: {error.strerror or error} ({error.filename}). Check the permissions, or name another "
            "folder with --out"
        ) from error
