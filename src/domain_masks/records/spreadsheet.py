"""Tables in CSV that are safe to open with a spreadsheet: no name in them is evaluated as a formula."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from typing import Any

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""Characters with which a spreadsheet starts a formula."""
_NUMBER = re.compile(r"[+-]?\d+([.,]\d+)*%?", re.ASCII)


def cell(text: str) -> str:
    """Return text as a cell: an apostrophe precedes what a spreadsheet would evaluate as a formula; numbers are unchanged."""
    return f"'{text}" if text.startswith(FORMULA) and not _NUMBER.fullmatch(text) else text


def path_cell(path: str) -> str:
    """Return a path as a cell: ``./`` precedes what a spreadsheet would evaluate as a formula, and names the same file."""
    return f"./{path}" if path.startswith(FORMULA) else path


def table_text(rows: Iterable[Sequence[Any]]) -> str:
    """Return rows as CSV, a line each; every text is a :func:`cell`, numbers are unchanged."""
    return "".join(line([cell(value) if isinstance(value, str) else value for value in row]) for row in rows)


def line(row: Sequence[Any]) -> str:
    """Return one line of CSV."""
    text = io.StringIO(newline="")
    # Before Python 3.13 a lone carriage return is not quoted, and is read back as the end of a line.
    has_return = any(isinstance(value, str) and "\r" in value for value in row)
    csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL if has_return else csv.QUOTE_MINIMAL).writerow(row)
    return text.getvalue()
