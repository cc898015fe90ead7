"""Tables in CSV that can be opened with a spreadsheet: no name in them is computed as a formula."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from typing import Any

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for the beginning of a formula."""
_NUMBER = re.compile(r"[+-]?\d+([.,]\d+)*%?", re.ASCII)


def cell(text: str) -> str:
    """Return text as a cell: with an apostrophe before what a spreadsheet would take for a formula; numbers stay."""
    return f"'{text}" if text.startswith(FORMULA) and not _NUMBER.fullmatch(text) else text


def path_cell(path: str) -> str:
    """Return a path as a cell: with ``./`` before what a spreadsheet would take for a formula, which is the same file."""
    return f"./{path}" if path.startswith(FORMULA) else path


def table_text(rows: Iterable[Sequence[Any]]) -> str:
    """Return rows as CSV, a line each; every text is a :func:`cell`, numbers are written as they are."""
    return "".join(line([cell(value) if isinstance(value, str) else value for value in row]) for row in rows)


def line(row: Sequence[Any]) -> str:
    """Return one line of CSV."""
    text = io.StringIO(newline="")
    # Before Python 3.13 a carriage return alone is not quoted, and read back as the end of a line.
    has_return = any(isinstance(value, str) and "\r" in value for value in row)
    csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL if has_return else csv.QUOTE_MINIMAL).writerow(row)
    return text.getvalue()
