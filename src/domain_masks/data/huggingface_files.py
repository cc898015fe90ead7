"""Load folders and repositories of Parquet or Arrow files with ``datasets``; each file has its own column types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from domain_masks.errors import InputError

_TYPED = ("parquet", "arrow")


def load_files(name: str, config: str | None, revision: str | None) -> Any:
    """Return the result of ``datasets.load_dataset``, or split -> table where the files' types differ between splits.

    The library applies the types of the first file to all files: where another file lists its class labels in another
    order, its indices would stand for other names. Each split is then read separately.

    Raises InputError where the files of one split list the names of a column's class labels differently, and the
    library's own errors.
    """
    import datasets  # noqa: PLC0415 - takes a second, and is not needed for others

    builder = datasets.load_dataset_builder(name, name=config, revision=revision)
    files: Mapping[Any, Sequence[str]] = getattr(builder.config, "data_files", None) or {}
    if builder.name not in _TYPED or not files:
        return datasets.load_dataset(name, name=config, revision=revision)
    manager = datasets.DownloadManager(dataset_name=builder.dataset_name)
    paths = {str(split): [str(path) for path in manager.download(list(names))] for split, names in files.items()}
    forms = [
        _form_of_split(split, [_form(builder.name, path) for path in own_paths]) for split, own_paths in paths.items()
    ]
    declared = None if builder.info.features is None else _texts(builder.info.features)
    own = [form for form in forms if form is not None]
    if all(form == (declared or own[0]) for form in own):
        return datasets.load_dataset(name, name=config, revision=revision)
    return {
        split: datasets.load_dataset(builder.name, data_files={split: own_paths}, split=split)
        for split, own_paths in paths.items()
    }


def _form(kind: str, path: str) -> tuple[str, dict[str, str]] | None:
    """Return a file's path, and its columns with their types; None for an unreadable file, which the library reports."""
    import datasets  # noqa: PLC0415
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        with Path(path).open("rb") as file:
            schema = pq.read_schema(file) if kind == "parquet" else pa.ipc.open_stream(file).schema
    except (pa.ArrowInvalid, OSError):
        return None
    return path, _texts(datasets.Features.from_arrow_schema(schema))


def _texts(features: Mapping[str, Any]) -> dict[str, str]:
    return {column: repr(feature) for column, feature in sorted(features.items())}


def _form_of_split(split: str, forms: Sequence[tuple[str, dict[str, str]] | None]) -> dict[str, str] | None:
    """Return the types that the files of one split have in common; raises InputError where class labels differ."""
    known = [form for form in forms if form is not None]
    for path, form in known[1:]:
        first_path, first = known[0]
        for column in first.keys() & form.keys():
            if first[column] != form[column] and "ClassLabel" in first[column] + form[column]:
                raise InputError(
                    f"the files of the split {split!r} disagree about the column {column!r}: {first_path} has "
                    f"{first[column]}, {path} has {form[column]}; write them again with the same class labels in the same order"
                )
    return known[0][1] if known else None
