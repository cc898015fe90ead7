"""Predictions as rows: CSV, JSON or JSON lines, written one by one as they come."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from domain_masks.deploy.predicting.image_paths import Unreadable
from domain_masks.errors import RunFolderError
from domain_masks.records.files import writing
from domain_masks.records.spreadsheet import cell, line, path_cell

if TYPE_CHECKING:
    from domain_masks.deploy.predicting.prediction import Prediction

_SHOWN = 20


class Rows(ABC):
    """Writes predictions to an open binary stream, a row each.

    - ``top``: how many classes a row names
    - ``sources``: the source domains whose masks vote; none for a method without votes
    """

    def __init__(self, stream: BinaryIO, top: int, sources: Sequence[str]) -> None:
        self._stream = stream
        self._top = top
        self._sources = tuple(sources)

    def begin(self) -> None:  # noqa: B027 - most formats have none
        """Write what stands before the first row."""

    @abstractmethod
    def add(self, prediction: Prediction) -> None:
        """Write one row."""

    def end(self) -> None:  # noqa: B027 - most formats have none
        """Write what stands behind the last row."""


class CsvRows(Rows):
    """Columns: path, class, probability; class_2, probability_2, ...; each source's vote; the nearest source.

    The path's bytes are written as they are, also where they are no UTF-8. Texts that a spreadsheet would take for a formula
    are disarmed, see :func:`cell`.
    """

    def begin(self) -> None:
        """Write the header."""
        head = ["path", "class", "probability"]
        for place in range(2, self._top + 1):
            head += [f"class_{place}", f"probability_{place}"]
        for source in self._sources:
            head += [cell(f"vote_{source}"), cell(f"vote_{source}_probability")]
        if self._sources:
            head += ["nearest_source", "nearest_weight", "nearest_accuracy"]
        self._write(head)

    def add(self, prediction: Prediction) -> None:
        """Write one row."""
        row = [path_cell(prediction.name or "")]
        for guess in prediction.top:
            row += [cell(guess.class_name), _number(guess.probability)]
        for source in self._sources:
            vote = prediction.votes[source]
            row += [cell(vote.class_name), _number(vote.probability)]
        if self._sources:
            weight, right = prediction.nearest_weight, prediction.nearest_accuracy
            row += [
                cell(prediction.nearest_source or ""),
                *("" if one is None else _number(one) for one in (weight, right)),
            ]
        self._write(row)

    def _write(self, row: Sequence[str]) -> None:
        self._stream.write(csv_line(row))


class JsonLines(Rows):
    """An object per line, see :meth:`Prediction.to_dict`; bytes of a path that are no UTF-8 are escaped, as JSON does."""

    def add(self, prediction: Prediction) -> None:
        """Write one line."""
        self._stream.write(_json(prediction) + b"\n")


class JsonArray(Rows):
    """One array of the objects of :class:`JsonLines`, an object per line."""

    _is_first = True

    def begin(self) -> None:
        """Open the array."""
        self._stream.write(b"[")

    def add(self, prediction: Prediction) -> None:
        """Write one object."""
        self._stream.write((b"\n" if self._is_first else b",\n") + _json(prediction))
        self._is_first = False

    def end(self) -> None:
        """Close the array."""
        self._stream.write(b"\n]\n")


FORMATS: dict[str, type[Rows]] = {".csv": CsvRows, ".json": JsonArray, ".jsonl": JsonLines}
"""Ending of a file's name -> what writes its rows."""


@contextmanager
def rows_to_file(path: Path, top: int, sources: Sequence[str]) -> Iterator[Rows]:
    """Give what writes rows to ``path``, in the format of its ending; the file appears whole or not at all.

    Raises RunFolderError where it cannot be written.
    """
    with writing(path) as temporary, temporary.open("wb") as stream:
        rows = FORMATS[path.suffix.lower()](stream, top, sources)
        rows.begin()
        yield rows
        rows.end()


class _RowsAtOnce(CsvRows):
    """CSV of which every row can be read as soon as it is there: whoever reads may be waiting for it."""

    def _write(self, row: Sequence[str]) -> None:
        super()._write(row)
        self._stream.flush()


@contextmanager
def rows_to_stream(stream: BinaryIO, top: int, sources: Sequence[str]) -> Iterator[Rows]:
    """Give what writes rows as CSV to an open stream; raises RunFolderError where that is full."""
    try:
        rows = _RowsAtOnce(stream, top, sources)
        rows.begin()
        yield rows
        rows.end()
    except BrokenPipeError:
        raise
    except OSError as error:
        if error.filename is not None:
            raise
        raise RunFolderError(f"cannot write standard output: {error.strerror or error}") from error


class Problems:
    """Counts images that could not be read, keeps the first ones, and writes all where there is a stream."""

    def __init__(self, stream: BinaryIO | None) -> None:
        self.count = 0
        self._stream = stream
        self._first: list[Unreadable] = []
        if stream is not None:
            stream.write(csv_line(["path", "reason"]))

    def add(self, problem: Unreadable) -> None:
        """Take note of one."""
        self.count += 1
        if len(self._first) < _SHOWN:
            self._first.append(problem)
        if self._stream is not None:
            self._stream.write(csv_line([path_cell(problem.name), cell(problem.reason)]))

    def lines(self) -> Iterator[str]:
        """Yield how many there were and a line for each of the first ones; nothing where there were none."""
        if not self.count:
            return
        yield f"{self.count:,} could not be read:"
        for problem in self._first:
            yield f"  {problem.name!r}: {problem.reason}"
        if self.count > len(self._first):
            yield f"  ... and {self.count - len(self._first):,} more (--errors FILE.csv writes all)"


@contextmanager
def problems_to_file(path: Path | None) -> Iterator[Problems]:
    """Give what takes note of images that could not be read; ``path``, if there is one, appears whole or not at all."""
    if path is None:
        yield Problems(None)
        return
    with writing(path) as temporary, temporary.open("wb") as stream:
        yield Problems(stream)


def csv_line(row: Sequence[str]) -> bytes:
    """Return one line of CSV; characters that stand for bytes that are no UTF-8 become these bytes again."""
    return line(row).encode("utf-8", "surrogateescape")


def _number(value: float) -> str:
    return f"{value:.6f}"


def _json(prediction: Prediction) -> bytes:
    content = prediction.to_dict()
    try:
        return json.dumps(content, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return json.dumps(content).encode()
