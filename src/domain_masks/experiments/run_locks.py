"""Locks of runs: one process at a time executes a run, of all benchmarks that write into one folder; and the run's folder.

Every run has a lock below ``.locks``, which the system releases when its process ends for any reason.
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
    """Lock a run within the block; yields False, without waiting, where another process holds the lock.

    Raises RunFolderError where ``out`` is not writable.
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
    """Whether another process is executing a run."""
    with locked(out, key) as free:
        return not free


def assign(out: Path, preferred: RunFolder, key: str, config: RunConfig, dataset: ImageDataset) -> RunFolder:
    """Return the folder of a locked run, created with its settings and inputs, so that no other run uses the folder.

    A folder that another benchmark assigned to this run is kept. Raises RunFolderError where it cannot be created.
    """
    with _explaining(out), _lock(out, "folders"):
        folder, content = assigned(out, key), content_of(dataset)
        if folder is None or key not in keys_in(folder, dataset.domains, content):
            candidates = (RunFolder(path) for path in candidate_folders(preferred.path, key))
            folder = next(candidate for candidate in candidates if is_free(candidate, key, dataset.domains, content))
        folder.refuse_file()
        if not folder.config.is_file():
            # Another dataset with the same names gives the same settings: the recorded inputs tell them apart.
            write_json(folder.environment, {INPUTS: inputs_of(config, dataset.domains, content)})
            config.write(folder.config)
        write_whole(_note(out, key), folder.path.relative_to(out).as_posix())
        return folder


def assigned(out: Path, key: str) -> RunFolder | None:
    """Return the folder that was assigned to a run; None where there is none yet."""
    try:
        return RunFolder(out / _note(out, key).read_text(encoding="utf-8"))
    except OSError:
        return None


def candidate_folders(preferred: Path, key: str) -> Iterator[Path]:
    """Yield the possible paths of a run: the preferred one first, then with its key appended."""
    yield preferred
    yield preferred.with_name(f"{preferred.name}-{key[:8]}")
    for number in count(2):
        yield preferred.with_name(f"{preferred.name}-{key}-{number}")


def is_free(folder: RunFolder, key: str, domains: Iterable[str], content: str | None = None) -> bool:
    """Whether a folder is free for the run with this key: it does not exist, has no settings, or those of this run."""
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
    """Turn errors of the operating system into a message about the benchmark's folder."""
    try:
        yield
    except Timeout:  # an OSError too, and no mistake
        raise
    except OSError as error:
        raise RunFolderError(
            f"cannot write below {out}: {error.strerror or error} ({error.filename}). Check the permissions, or name another "
            "folder with --out"
        ) from error
