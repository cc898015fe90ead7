"""Files that are written whole or not at all, in the folder they belong to."""

from __future__ import annotations

import errno
import json
import math
import os
import secrets
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

from domain_masks.errors import DiskFullError, InputError, RunFolderError, shown

PARTIAL = ".partial"
PICKLED = (".ckpt", ".pth", ".pt", ".bin", ".pkl", ".pickle")
"""Endings of files that can run code when they are read."""
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def partial_files(path: Path) -> list[Path]:
    """Return the temporary files that interrupted writers of ``path`` left behind."""
    return sorted(path.parent.glob(f".{_escaped(path.name)}.*{PARTIAL}{_escaped(path.suffix)}"))


def is_there(path: Path | str) -> bool:
    """Return whether ``path`` exists; a name that no file system takes (too long, a null in it) does not."""
    try:
        return Path(path).exists()
    except (OSError, ValueError):
        return False


@contextmanager
def writing(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside ``path``, which is renamed to ``path`` when the block succeeds and removed otherwise.

    The temporary file is in the same folder (created if missing), so that the last step is one rename on one file
    system, and keeps the suffix, which some writers depend on. Readers see the old file or the new one, never a part.
    The block writes the file. Raises RunFolderError where the file cannot be written: no permission, disk full, a
    folder of that name, or no file written by the block; other exceptions of the block pass through.
    """
    path = Path(path)
    temporary = path.parent / f".{path.name}.{secrets.token_hex(4)}{PARTIAL}{path.suffix}"
    try:
        with _explaining(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            # Not with tempfile, whose files are readable by their owner only and would stay so.
            os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        try:
            yield temporary
        except OSError as error:
            if error.errno in _FULL or str(error.filename) == str(temporary):
                raise _unwritable(path, error) from error
            raise
        with _explaining(path):
            _synchronize(temporary)
            temporary.replace(path)
    finally:
        with suppress(OSError):
            temporary.unlink()
    with suppress(OSError):  # not every file system lets a folder be synchronised
        _synchronize(path.parent)


def write_whole(path: Path | str, data: bytes | str) -> None:
    """Write ``data`` (text as UTF-8) to ``path``, whole or not at all; raises RunFolderError like :func:`writing`.

    Surrogate escapes of file names that are not UTF-8 become their bytes again.
    """
    with writing(path) as temporary:
        temporary.write_bytes(as_bytes(data) if isinstance(data, str) else data)


def as_bytes(text: str) -> bytes:
    """Return text as UTF-8, with undecodable bytes of names unchanged, and anything else escaped that cannot be encoded."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace")


def write_json(path: Path | str, content: Mapping[str, Any]) -> None:
    """Write ``content`` as indented JSON, keys in their order; numpy scalars, arrays and paths are converted.

    Raises InputError for NaN and infinity, which JSON does not have, and for values of other types: the message names
    their place in ``content``.
    """
    plain = _plain(content, str(path), "")
    text = json.dumps(plain, indent=2, ensure_ascii=False, allow_nan=False)
    if not is_utf8(text):
        # As escapes, the only form that passes through JSON.
        text = json.dumps(plain, indent=2, ensure_ascii=True, allow_nan=False)
    write_whole(path, text + "\n")


def is_utf8(text: str) -> bool:
    """Return whether a text can be encoded as UTF-8: file names may be any bytes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def printable(name: str) -> str:
    """Return a name with bytes that are not UTF-8 escaped."""
    return name.encode("utf-8", "backslashreplace").decode()


@contextmanager
def utf8_path(path: Path) -> Iterator[Path]:
    """Yield a path in UTF-8 to an existing file: libraries that are not written in Python open no others."""
    if is_utf8(str(path)):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder) / f"file{path.suffix if is_utf8(path.suffix) else ''}"
        link.symlink_to(path.absolute())
        yield link


def read_json(path: Path | str) -> dict[str, Any]:
    """Return the JSON object in ``path``; raises RunFolderError that names the file if it is missing or malformed."""
    path = Path(path)
    text = read_bytes(path)
    try:
        content = json.loads(text.decode(), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise RunFolderError(
            f"{path} is malformed: expected JSON, got an error ({error}). Restore the file, or have it written again"
        ) from error
    if not isinstance(content, dict):
        raise RunFolderError(f"{path} is malformed: expected a JSON object, got {type(content).__name__}")
    return content


def check_schema(schema: Any, known: int, path: Path | str, remedy: str = "", word: str = "schema") -> None:
    """Raise RunFolderError unless ``schema``, in which ``path`` was written, can be read.

    - ``known``: the schema that is written here; older ones are read
    - ``remedy``: how to write the file again
    - ``word``: what the file calls its schema
    """
    is_number = isinstance(schema, int) and not isinstance(schema, bool)
    if is_number and 1 <= schema <= known:
        return
    got = "none" if schema is None else shown(schema)
    if is_number and schema > known:
        raise RunFolderError(
            f"{path} was written by a newer version of domain-masks: expected {word} {known} or older, got {got}. Update "
            f"domain-masks{', or ' + remedy if remedy else ''}"
        )
    raise RunFolderError(
        f"{path} has no valid {word}: expected {word} {known} or older, got {got}" + (f"; {remedy}" if remedy else "")
    )


def read_bytes(path: Path) -> bytes:
    """Return the bytes of ``path``; raises RunFolderError that names the file if it is missing or cannot be read."""
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise RunFolderError(f"{path} is missing: expected a file that a run leaves behind") from error
    except OSError as error:
        raise RunFolderError(f"cannot read {path}: {error.strerror or error}") from error


def _synchronize(path: Path) -> None:
    """Synchronise ``path`` (a file or a folder) to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _escaped(name: str) -> str:
    """Return ``name`` for use in a glob pattern, with brackets, stars and question marks escaped."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _plain(value: Any, path: str, where: str) -> Any:
    """Return ``value`` with plain Python types only; raises InputError that says ``where`` something else is."""
    if isinstance(value, Mapping):
        wrong = [key for key in value if not isinstance(key, str)]
        if wrong:
            raise InputError(
                f"cannot write {path}: expected text as keys of {where or 'the content'}, got {wrong[0]!r}"
            )
        return {str(key): _plain(inner, path, f"{where}.{key}" if where else key) for key, inner in value.items()}
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, numpy.ndarray | numpy.generic):
        # NumPy's arrays and scalars, without importing it.
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(inner, path, f"{where}[{index}]") for index, inner in enumerate(value)]
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InputError(f"cannot write {path}: expected a finite number at {where}, got {value}")
        return float(value)
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, Path):
        return str(value)
    raise InputError(
        f"cannot write {path}: expected a number, text, a list or a mapping at {where}, got a {type(value).__name__}"
    )


@contextmanager
def _explaining(path: Path) -> Iterator[None]:
    """Turn errors of the operating system into a message about ``path``."""
    try:
        yield
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> RunFolderError:
    kind = DiskFullError if error.errno in _FULL else RunFolderError
    return kind(
        f"cannot write {path}: {error.strerror or error}. Expected a place where files can be written: check the "
        "permissions and the free space, or name another folder"
    )
