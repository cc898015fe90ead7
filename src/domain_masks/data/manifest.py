"""Manifests: a table of pictures, ``path,label,domain`` and optionally ``split`` and ``group``, in a file."""

from __future__ import annotations

import io
import os
import posixpath
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from domain_masks.data.dataset import (
    SPLIT_NAMES,
    FileOpener,
    ImageDataset,
    fingerprint_of,
    ordered_names,
    positions_of,
)
from domain_masks.errors import InputError, collected, nearest

EXTENSIONS = (".csv", ".tsv", ".parquet")
REQUIRED = ("path", "label", "domain")
OPTIONAL = ("split", "group")
SPLIT_OF_WORD = {**{name: name for name in SPLIT_NAMES}, "validation": "val", "valid": "val", "dev": "val"}

if TYPE_CHECKING:
    import pandas as pd

_NAMED = 5
_EXAMPLE = "as in path,label,domain"


def load_manifest(file: str | Path, root: str | Path | None = None) -> ImageDataset:
    """Return the dataset that a table lists: one line per picture, in a .csv, .tsv or .parquet file.

    Columns: ``path``, relative to the manifest's folder, or to ``root`` if one is given, or absolute; ``label`` and
    ``domain``, names or whole numbers; optionally ``split`` (train, val or test; validation, valid and dev are val) and
    ``group``, each in every line or in none. Others are ignored. Classes and domains are sorted, whole numbers by their
    value. The dataset is named like the file. Nothing is decoded.

    Raises InputError if the file cannot be read, and one error for everything that is wrong with its lines.
    """
    source = Path(file)
    if not source.is_file():
        raise InputError(
            f"manifest {str(source)!r} does not exist: expected a table with the columns path, label, domain"
        )
    directory = Path(root) if root is not None else source.parent
    if not directory.is_dir():
        raise InputError(f"root {str(directory)!r} is no folder: expected the one that the manifest's paths start from")
    checked = _Checked(_read(source), "row" if source.suffix.lower() == ".parquet" else "line")
    checked.check_cells()
    found = checked.find_files(directory)
    if checked.mistakes:
        raise collected(f"manifest {str(source)!r}", checked.mistakes)
    return _dataset(source.name, directory.resolve(), checked.table, found)


def _dataset(name: str, root: Path, table: pd.DataFrame, found: list[tuple[int, int]]) -> ImageDataset:
    columns = {column: table[column].tolist() for column in table.columns}
    classes, domains = ordered_names(columns["label"]), ordered_names(columns["domain"])
    labels, domain_indices = positions_of(columns["label"], classes), positions_of(columns["domain"], domains)
    ids = tuple(columns["path"])
    files = np.array(found, dtype=np.int64)
    return ImageDataset(
        name=name,
        classes=classes,
        domains=domains,
        ids=ids,
        labels=labels,
        domain_indices=domain_indices,
        splits=np.array(columns["split"], dtype=np.str_) if "split" in columns else None,
        open_image=FileOpener(root, ids),
        fingerprint=fingerprint_of([(name,), classes, domains, ids], [labels, domain_indices, files]),
        groups=np.array(columns["group"], dtype=np.str_) if "group" in columns else None,
    )


def _read(source: Path) -> pd.DataFrame:
    """Return the columns that have a meaning as stripped text, without blank lines; the index numbers lines from 1."""
    table = _read_parquet(source) if source.suffix.lower() == ".parquet" else _read_text(source)
    present = [name for name in (*REQUIRED, *OPTIONAL) if name in table.columns]
    if twice := [name for name in present if list(table.columns).count(name) > 1]:
        raise InputError(f"manifest {str(source)!r}: expected every column once, got {', '.join(twice)} more than once")
    chosen: pd.DataFrame = table[present].apply(lambda column: _as_text(column).str.strip())
    chosen = chosen[(chosen != "").any(axis=1)]
    if missing := [name for name in REQUIRED if name not in present]:
        raise _missing_columns(source, missing, [str(name) for name in table.columns])
    if len(chosen) == 0:
        raise InputError(f"manifest {str(source)!r} lists no pictures: expected a line for each, {_EXAMPLE}")
    return chosen


def _missing_columns(source: Path, missing: list[str], columns: list[str]) -> InputError:
    spare = [name for name in columns if name and name not in (*REQUIRED, *OPTIONAL)]
    guesses = [f"{name} ({guess!r}?)" if (guess := nearest(name, spare)) else name for name in missing]
    if len(columns) == 1 and any(sign in columns[0] for sign in ",;\t|"):
        hint = "the columns of a .csv are separated by commas, those of a .tsv by tabs"
    else:
        hint = "name the columns in the first line"
    return InputError(
        f"manifest {str(source)!r}: expected the columns {', '.join(REQUIRED)} and optionally {', '.join(OPTIONAL)}, "
        f"got {', '.join(columns)} without {', '.join(guesses)}; {hint}"
    )


def _read_text(source: Path) -> pd.DataFrame:
    import pandas as pd  # noqa: PLC0415 - every command would wait for it

    try:
        text = source.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"manifest {str(source)!r} is not UTF-8 (byte {error.start}): save it with that encoding"
        ) from error
    except OSError as error:
        raise InputError(f"manifest {str(source)!r} cannot be read: {error.strerror or error}") from error
    blank = len(text) - len(text.lstrip("\r\n"))
    if not text.strip():
        raise InputError(f"manifest {str(source)!r} is empty: expected a line per picture, {_EXAMPLE}")
    try:
        # The first line is read as data: pandas would rename columns that occur twice, and lose the lines' numbers.
        table = pd.read_csv(
            io.StringIO(text[blank:]),
            sep="\t" if source.suffix.lower() == ".tsv" else ",",
            header=None,
            dtype=str,
            na_filter=False,
            skip_blank_lines=False,
        )
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise InputError(
            f"manifest {str(source)!r} is no table: {str(error).strip()}; mend or quote that line"
        ) from error
    table = table.fillna("")
    header = [str(name).strip() for name in table.iloc[0]]
    table.index = pd.RangeIndex(1 + text[:blank].count("\n"), 1 + text[:blank].count("\n") + len(table))
    rows = table.iloc[1:]
    return rows.set_axis(header, axis=1)


def _read_parquet(source: Path) -> pd.DataFrame:
    import pandas as pd  # noqa: PLC0415 - every command would wait for it

    try:
        table = pd.read_parquet(source)
    except ImportError as error:
        raise InputError(
            f"manifest {str(source)!r} needs pyarrow: install the extra `parquet` (pip install 'domain-masks[parquet]'), "
            "or save it as .csv"
        ) from error
    except (OSError, ValueError) as error:
        raise InputError(f"manifest {str(source)!r} is no Parquet file: {str(error).splitlines()[0]}") from error
    table.columns = pd.Index([str(name).strip() for name in table.columns])
    return table.set_axis(pd.RangeIndex(1, len(table) + 1), axis=0)


def _as_text(column: pd.Series) -> pd.Series:
    """Return a column of any type as text, empty where a value is missing; 3.0 of a column with gaps is 3."""
    import pandas as pd  # noqa: PLC0415 - every command would wait for it

    if pd.api.types.is_float_dtype(column) and (column.dropna() % 1 == 0).all():
        column = column.astype("Int64")
    return column.astype(object).map(str, na_action="ignore").fillna("").astype(str)


@dataclass
class _Checked:
    """A manifest's lines and what is wrong with them; ``word`` is what a line is called: line or row."""

    table: pd.DataFrame
    word: str
    mistakes: list[str] = field(default_factory=list)

    def check_cells(self) -> None:
        """Note empty cells and unknown splits; drop optional columns that are empty throughout."""
        for name in OPTIONAL:
            if name in self.table and (self.table[name] == "").all():
                self.table = self.table.drop(columns=name)
        for name in self.table.columns:
            empty = self.table.index[self.table[name] == ""].tolist()
            if empty:
                hint = ": expected it everywhere or nowhere" if name in OPTIONAL else ""
                self.mistakes.append(f"{name} is empty in {self._lines(empty)}{hint}")
        if "split" in self.table:
            words = self.table["split"].str.lower()
            unknown = self.table["split"][~words.isin([*SPLIT_OF_WORD, ""])]
            for word, lines in unknown.groupby(unknown).groups.items():
                guess = nearest(str(word), SPLIT_OF_WORD)
                hint = f", did you mean {guess!r}?" if guess else ""
                self.mistakes.append(
                    f"split {word!r} in {self._lines(lines.tolist())}: expected {', '.join(SPLIT_NAMES)}{hint}"
                )
            self.table = self.table.assign(split=words.map(SPLIT_OF_WORD))

    def find_files(self, directory: Path) -> list[tuple[int, int]]:
        """Make paths relative, note repeated and missing ones, and return every file's size and time of change."""
        root = str(directory.resolve())
        given = self.table["path"].tolist()
        paths = [_relative(path, root) if path else "" for path in given]
        self.table = self.table.assign(path=paths)
        self._note_repeated()
        found = []
        missing: dict[str, list[int]] = {}
        for line, path in zip(self.table.index.tolist(), paths, strict=True):
            try:
                state = os.stat(os.path.join(root, path))  # noqa: PTH116, PTH118 - half a million paths
            except (OSError, ValueError):
                state = None
            if state is not None and stat.S_ISREG(state.st_mode):
                found.append((state.st_size, state.st_mtime_ns))
            elif path:
                missing.setdefault(path, []).append(line)
        for path, lines in missing.items():
            self.mistakes.append(f"{self._lines(lines)}: there is no file {path!r} in {str(directory)!r}")
        return found

    def _note_repeated(self) -> None:
        path = self.table["path"]
        repeated = self.table[path.duplicated(keep=False) & (path != "")]
        for name, rows in repeated.groupby("path", sort=False):
            labels = list(dict.fromkeys(rows["label"]))
            hint = f" with different labels: {', '.join(map(repr, labels))}" if len(labels) > 1 else ""
            self.mistakes.append(f"path {name!r} is in {self._lines(rows.index.tolist())}{hint}")

    def _lines(self, numbers: list[int]) -> str:
        shown = ", ".join(map(str, numbers[:_NAMED])) + (f" and {len(numbers) - _NAMED} more" * (len(numbers) > _NAMED))
        return f"{self.word}{'s' * (len(numbers) > 1)} {shown}"


def _relative(path: str, root: str) -> str:
    """Return a path relative to ``root`` with forward slashes and without detours: the picture's id."""
    path = path.replace("\\", "/")
    return posixpath.relpath(path, root) if path.startswith("/") else posixpath.normpath(path)
