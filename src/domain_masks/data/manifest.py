"""Manifests: a table of images, ``path,label,domain`` and optionally ``split`` and ``group``, in a file."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from domain_masks.data.dataset import ImageDataset, ordered_names
from domain_masks.data.file_dataset import ImageFile, collection_paused, dataset_of_files
from domain_masks.data.manifest_lines import OPTIONAL, REQUIRED, ManifestTable
from domain_masks.data.similar_names import outer_form
from domain_masks.data.text_files import decoded_text
from domain_masks.errors import InputError, collected
from domain_masks.records.files import is_there, printable

_SEPARATORS = (",", ";", "\t", "|")
EXTENSIONS = (".csv", ".tsv", ".parquet")

if TYPE_CHECKING:
    import pandas as pd

_EXAMPLE = "as in path,label,domain"


@collection_paused()
def load_manifest(file: str | Path, root: str | Path | None = None) -> ImageDataset:
    """Return the dataset that a table lists: one line per image, in a .csv, .tsv or .parquet file.

    Columns: ``path``, relative to the manifest's folder, or to ``root`` if one is given, or absolute; ``label`` and
    ``domain``, names or whole numbers; optionally ``split`` (train, val or test; validation, valid and dev are val) and
    ``group``, each in every line or in none. Others are ignored. Classes and domains are sorted, whole numbers by their
    value. The dataset is named like the file. Nothing is decoded.

    Raises InputError if the file cannot be read, and one error for everything that is wrong with its lines.
    """
    source = Path(file)
    table = read_table(source)
    directory = folder_of(source, root)
    if table.lacking:
        raise _missing_columns(table)
    if len(table.rows) == 0:
        raise InputError(f"manifest {str(source)!r} lists no images: expected one line per image, {_EXAMPLE}")
    table.check_cells()
    states = table.find_files(directory)
    if table.mistakes:
        raise collected(f"manifest {str(source)!r}", [mistake.text for mistake in table.mistakes])
    rows = table.rows.reindex(columns=[*REQUIRED, *OPTIONAL], fill_value="")
    files = [
        ImageFile(path, domain, label, *state, split, group)
        for (path, label, domain, split, group), state in zip(rows.itertuples(index=False), states, strict=True)
    ]
    names = ordered_names(rows["domain"]), ordered_names(rows["label"])
    return dataset_of_files(printable(source.name), directory, files, names)


def is_manifest(name: str | Path) -> bool:
    """Return whether a path names a manifest, existing or not: by its extension, unless it is a folder."""
    path = Path(name)
    return path.suffix.lower() in EXTENSIONS and not (is_there(path) and path.is_dir())


def folder_of(source: Path, root: str | Path | None) -> Path:
    """Return the folder that a manifest's paths start from; raises InputError if there is none."""
    directory = Path(root) if root is not None else source.parent
    if not directory.is_dir():
        raise InputError(f"root {str(directory)!r} is no folder: expected the one that the manifest's paths start from")
    return directory


def read_table(source: Path) -> ManifestTable:
    """Return a manifest's lines with the cells as stripped text, without blank lines; nothing is checked yet.

    Raises InputError if the file cannot be read, is no table, or has a column twice.
    """
    if not source.is_file():
        raise InputError(
            f"manifest {str(source)!r} does not exist: expected a table with the columns path, label, domain"
        )
    parquet = source.suffix.lower() == ".parquet"
    table = _read_parquet(source) if parquet else _read_text(source)
    columns = _meant(tuple(str(name) for name in table.columns))
    table = table.set_axis(list(columns), axis=1)
    present = [name for name in (*REQUIRED, *OPTIONAL) if name in columns]
    if twice := [name for name in present if columns.count(name) > 1]:
        raise InputError(f"manifest {str(source)!r}: expected every column once, got {', '.join(twice)} more than once")
    chosen: pd.DataFrame = table[present].apply(lambda column: _as_text(column).str.strip())
    return ManifestTable(source, columns, chosen[(chosen != "").any(axis=1)], "row" if parquet else "line")


def _meant(columns: tuple[str, ...]) -> tuple[str, ...]:
    """Return the columns' names; known columns get their usual spelling where they differ in capitals or quotes."""
    known = (*REQUIRED, *OPTIONAL)
    forms = [outer_form(name) for name in columns]
    meant = tuple(
        form if form in known and form not in columns and forms.count(form) == 1 else name
        for name, form in zip(columns, forms, strict=True)
    )
    return meant if {*REQUIRED} <= {*meant} else columns


def _missing_columns(table: ManifestTable) -> InputError:
    guesses = [f"{name} ({guess!r}?)" if guess else name for name, guess in table.lacking.items()]
    columns = table.columns
    if len(columns) == 1 and any(sign in columns[0] for sign in ",;\t|"):
        hint = "the columns of a .csv are separated by commas, those of a .tsv by tabs"
    else:
        hint = "name the columns in the first line"
    return InputError(
        f"manifest {str(table.source)!r}: expected the columns {', '.join(REQUIRED)} and optionally "
        f"{', '.join(OPTIONAL)}, got {', '.join(columns)} without {', '.join(guesses)}; {hint}"
    )


def _read_text(source: Path) -> pd.DataFrame:
    import pandas as pd  # noqa: PLC0415 - every command would wait for it

    try:
        text = decoded_text(source.read_bytes())
    except UnicodeDecodeError as error:
        raise InputError(
            f"manifest {str(source)!r} is not {error.encoding.upper()} (byte {error.start}): save it as UTF-8"
        ) from error
    except OSError as error:
        raise InputError(f"manifest {str(source)!r} cannot be read: {error.strerror or error}") from error
    blank = len(text) - len(text.lstrip("\r\n"))
    if not text.strip():
        raise InputError(f"manifest {str(source)!r} is empty: expected a line per image, {_EXAMPLE}")
    separator = _separator(text[blank:], "\t" if source.suffix.lower() == ".tsv" else ",")
    try:
        # The header is read as data: pandas would rename columns that occur twice, and lose the line numbers.
        table = pd.read_csv(
            io.StringIO(text[blank:]),
            sep=separator,
            # In tables written by hand, a quote after a blank opens a quoted cell too.
            skipinitialspace=True,
            header=None,
            dtype=str,
            na_filter=False,
            skip_blank_lines=False,
        )
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise InputError(
            f"manifest {str(source)!r} is no table: {str(error).strip()}; correct or quote that line"
        ) from error
    table = table.fillna("")
    header = [str(name).strip() for name in table.iloc[0]]
    first = 1 + text[:blank].count("\n")
    table.index = pd.RangeIndex(first, first + len(table))
    if '"' in text:
        table.index = table.index + _further_lines(table, header, separator, source)
    rows = table.iloc[1:]
    return rows.set_axis(header, axis=1)


def _further_lines(table: pd.DataFrame, header: Sequence[str], separator: str, source: Path) -> npt.NDArray[np.intp]:
    """Return how many lines the rows before each one take beyond one line per row, as quoted cells may have several.

    Raises InputError where such a cell is one of a known column, or contains separators, too: then a quote that is not closed
    has likely swallowed the lines up to the next quote.
    """
    breaks = table.apply(lambda column: column.str.count("\r\n|\r|\n"))
    of_rows = breaks.sum(axis=1).to_numpy(dtype=np.intp)
    further: npt.NDArray[np.intp] = of_rows.cumsum() - of_rows
    for column, name in enumerate(header):
        lines = breaks.iloc[:, column].to_numpy(dtype=np.intp)
        suspect = lines > 0
        if outer_form(name) not in (*REQUIRED, *OPTIONAL):
            suspect &= table.iloc[:, column].str.contains(separator, regex=False).to_numpy(dtype=bool)
        if suspect.any():
            row = int(suspect.argmax())
            line = int(table.index[row] + further[row])
            raise InputError(
                f"manifest {str(source)!r}: the cell of the column {name!r} in line {line} goes on to line "
                f"{line + lines[row]}: expected it in one line. Probably a quote is not closed: remove it, or put the whole "
                "cell in quotes and write each quote within it twice"
            )
    return further


def _separator(text: str, usual: str) -> str:
    """Return the separator of the cells: the extension's, unless only another one gives the names of the columns."""
    first = text.splitlines()[0]
    for sign in (usual, *(separator for separator in _SEPARATORS if separator != usual)):
        cells = next(csv.reader([first], delimiter=sign, skipinitialspace=True), [])
        if {*REQUIRED} <= {outer_form(cell) for cell in cells}:
            return sign
    return usual


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
    column = column.astype(object).map(_as_utf8, na_action="ignore")
    return column.map(str, na_action="ignore").fillna("").astype(str)


def _as_utf8(value: object) -> object:
    return value.decode(errors="surrogateescape") if isinstance(value, bytes) else value
