"""The error of a failed run: ``failed.json`` in its folder, until the run succeeds."""

from __future__ import annotations

import traceback
from datetime import UTC, datetime
from pathlib import Path

from domain_masks.errors import DomainMasksError, RunFolderError
from domain_masks.records.files import check_schema, read_json, write_json

FAILURE = "failed.json"
FAILURE_SCHEMA = 1


def record_failure(path: Path, error: BaseException | str, kind: str | None = None) -> str:
    """Write why a run failed, with the traceback of an unexpected error; returns the message.

    - ``error``: the exception, or a message where the process has ended without one
    - ``kind``: the class of the error, where ``error`` is a message

    Raises RunFolderError where the file cannot be written.
    """
    message, more = str(error), {}
    if isinstance(error, BaseException):
        kind = type(error).__name__
        if not isinstance(error, DomainMasksError):
            message = f"{kind}: {error}" if message else kind
            more["traceback"] = "".join(traceback.format_exception(error))
    when = datetime.now(UTC).isoformat(timespec="seconds")
    known = {"schema": FAILURE_SCHEMA, "error": message, "kind": kind or "RuntimeError", "when": when}
    write_json(path, {**known, **more})
    return message


def read_failure(path: Path) -> str:
    """Return the message of a failed run, or why it cannot be read."""
    try:
        content = read_json(path)
        check_schema(content.get("schema"), FAILURE_SCHEMA, path)
    except RunFolderError as error:
        return f"failed; its message cannot be read: {error}"
    return str(content.get("error", "failed without a message"))
