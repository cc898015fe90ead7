"""A table with its displayed cells and its numbers, from which HTML, Markdown, LaTeX and CSV are written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pandas as pd

from domain_masks.records.spreadsheet import table_text

Mark = Literal["", "best", "oracle", "paper", "muted", "own"]
NOTHING = "–"
MINUS = "\u2212"
ORACLE_NOTE = "Red, oracle: selected with labels of the held-out domain. It is an upper bound, not a fair result."


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    - ``value``: the sort key; None without a number
    - ``detail``: a second, smaller line, such as an interval
    - ``heat``: strength of the shading, in [0, 1]
    - ``mark``: "best" of its column, "oracle" (labels of the held-out domain were used), "paper" for a printed
      number, "own" for a domain under its own mask, "muted"
    """

    text: str
    value: float | None = None
    detail: str = ""
    heat: float | None = None
    mark: Mark = ""


@dataclass(frozen=True)
class Column:
    """The header of a column; numbers are right-aligned. ``detail`` is a second, smaller line, such as "n = 120"."""

    title: str
    is_number: bool = True
    detail: str = ""


@dataclass(frozen=True, eq=False)
class Table:
    """One table.

    - ``name``: stem of its file names, such as "pacs-out-of-domain"
    - ``frame``: its numbers, unrounded, in long format; written as CSV
    - ``notes``: sentences below it
    - ``folded``: whether the page shows it collapsed
    - ``is_matrix``: whether rows and columns are the same items, with narrow columns
    """

    name: str
    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    frame: pd.DataFrame
    notes: Sequence[str] = field(default=())
    folded: bool = False
    is_matrix: bool = False


def text_cell(text: str, detail: str = "", mark: Mark = "") -> Cell:
    """Return a cell with text."""
    return Cell(text, detail=detail, mark=mark)


def percent(value: float | None, digits: int = 2, mark: Mark = "", detail: str = "") -> Cell:
    """Return a fraction as a cell in percent; a dash for None."""
    return nothing() if value is None else Cell(f"{100 * value:.{digits}f}", value, detail, mark=mark)


def number(value: float | None, form: str = ".3f", mark: Mark = "") -> Cell:
    """Return a number as a cell; a dash for None."""
    return nothing() if value is None else Cell(format(value, form), value, mark=mark)


def mean_of_whole(value: float | None) -> Cell:
    """Return the mean of integers as a cell, with a decimal only if needed; a dash for None."""
    return number(value, ".0f" if value is None or value == int(value) else ".1f")


def points(value: float | None, mark: Mark = "", detail: str = "") -> Cell:
    """Return the difference of two fractions as a cell, in percentage points with its sign; a dash for None."""
    return nothing() if value is None else Cell(signed(100 * value), value, detail, mark=mark)


def nothing() -> Cell:
    """Return the cell for a missing value."""
    return Cell(NOTHING, mark="muted")


def n_text(count: int | None) -> str:
    """Return the number of images as text; empty if unknown."""
    return "" if count is None else f"n = {count:,}"


def signed(value: float, digits: int = 2) -> str:
    """Return a number with its sign, with a typographic minus."""
    return f"{value:+.{digits}f}".replace("-", MINUS)


def p_text(value: float) -> str:
    """Return a p value as text."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def rows_of(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a frame, each column name -> value."""
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def frame_text(frame: pd.DataFrame) -> str:
    """Return a frame as CSV that is safe to open in a spreadsheet; missing values are empty."""
    rows = ([("" if is_missing(value) else value) for value in row] for row in frame.itertuples(index=False, name=None))
    return table_text([list(map(str, frame.columns)), *rows])


def is_missing(value: Any) -> bool:
    """Return whether a value of a frame is missing."""
    return bool(pd.isna(value))


def typed(rows: Iterable[Mapping[str, Any]], columns: Mapping[str, str]) -> pd.DataFrame:
    """Return rows as a frame with exactly these columns of these types ("str", "Int64", "Float64", "boolean")."""
    listed = list(rows)
    data = {
        name: pd.Series([row.get(name) for row in listed], dtype="string" if kind == "str" else kind)
        for name, kind in columns.items()
    }
    return pd.DataFrame(data)
