"""Write predictions as CSV, JSON or JSON lines, one row at a time."""

from __future__ import annotations

import json
import shutil
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
    """Writes predictions to an open binary stream, one row each.

    - ``top``: how many classes a row lists
    - ``sources``: the source domains whose masks vote; empty for a method without votes
    - ``marked``: whether each row says with which option of test time it was predicted
    """

    def __init__(self, stream: BinaryIO, top: int, sources: Sequence[str], marked: bool = False) -> None:
        self._stream = stream
        self._marked = marked
        self._top = top
        self._sources = tuple(sources)

    def begin(self) -> None:  # noqa: B027 - most formats have none
        """Write the header."""

    @abstractmethod
    def add(self, prediction: Prediction) -> None:
        """Write one row."""

    def append(self, part: BinaryIO) -> None:
        """Append rows that were written without header and footer, by a writer of :data:`PARTS`."""
        shutil.copyfileobj(part, self._stream)

    def end(self) -> None:  # noqa: B027 - most formats have none
        """Write the footer."""


class CsvRows(Rows):
    """Columns: path, class, probability; class_2, probability_2, ...; each source's vote; the nearest source.

    Paths are written byte for byte, also if they are not UTF-8. Text that a spreadsheet would take for a formula is escaped,
    see :func:`cell`.
    """

    def begin(self) -> None:
        """Write the header."""
        head = ["path", "class", "probability"]
        for rank in range(2, self._top + 1):
            head += [f"class_{rank}", f"probability_{rank}"]
        for source in self._sources:
            head += [cell(f"vote_{source}"), cell(f"vote_{source}_probability")]
        if self._sources:
            head += ["nearest_source", "nearest_weight", "nearest_accuracy"]
        head += ["test_time"] if self._marked else []
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
            numbers = (prediction.nearest_weight, prediction.nearest_accuracy)
            row += [
                cell(prediction.nearest_source or ""),
                *("" if number is None else _number(number) for number in numbers),
            ]
        row += [prediction.test_time or ""] if self._marked else []
        self._write(row)

    def _write(self, row: Sequence[str]) -> None:
        self._stream.write(csv_line(row))


class JsonLines(Rows):
    """An object per line, see :meth:`Prediction.to_dict`; bytes of a path that are not UTF-8 are escaped, as JSON does."""

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
        self._add(_json(prediction))

    def append(self, part: BinaryIO) -> None:
        """Append the objects of :class:`JsonLines`."""
        for content in part:
            self._add(content.removesuffix(b"\n"))

    def _add(self, content: bytes) -> None:
        self._stream.write((b"\n" if self._is_first else b",\n") + content)
        self._is_first = False

    def end(self) -> None:
        """Close the array."""
        self._stream.write(b"\n]\n")


FORMATS: dict[str, type[Rows]] = {".csv": CsvRows, ".json": JsonArray, ".jsonl": JsonLines}
"""File extension -> the writer of its rows."""
PARTS: dict[str, type[Rows]] = {".csv": CsvRows, ".json": JsonLines, ".jsonl": JsonLines}
"""File extension -> the writer of rows that :meth:`Rows.append` of its writer takes."""


@contextmanager
def rows_to_file(path: Path, top: int, sources: Sequence[str], marked: bool = False) -> Iterator[Rows]:
    """Yield the writer of ``path`` in the format of its extension; the file is written atomically.

    Raises RunFolderError if it cannot be written.
    """
    with writing(path) as temporary, temporary.open("wb") as stream:
        rows = FORMATS[path.suffix.lower()](stream, top, sources, marked)
        rows.begin()
        yield rows
        rows.end()


class _FlushedCsvRows(CsvRows):
    """CSV that flushes every row, since the reader of a pipe may be waiting for it."""

    def _write(self, row: Sequence[str]) -> None:
        super()._write(row)
        self._stream.flush()


@contextmanager
def rows_to_stream(stream: BinaryIO, top: int, sources: Sequence[str], marked: bool = False) -> Iterator[Rows]:
    """Yield a writer of CSV rows to an open stream; raises RunFolderError if writing fails."""
    try:
        rows = _FlushedCsvRows(stream, top, sources, marked)
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
    """Counts unreadable images, keeps the first ones, and writes all of them to ``stream`` unless it is None."""

    def __init__(self, stream: BinaryIO | None) -> None:
        self.count = 0
        self._stream = stream
        self._first: list[Unreadable] = []
        if stream is not None:
            stream.write(csv_line(["path", "reason"]))

    def add(self, problem: Unreadable) -> None:
        """Record an unreadable image."""
        self.count += 1
        if len(self._first) < _SHOWN:
            self._first.append(problem)
        if self._stream is not None:
            self._stream.write(csv_line([path_cell(problem.name), cell(problem.reason)]))

    def lines(self) -> Iterator[str]:
        """Yield the count and a line for each of the first ones; nothing if there were none."""
        if not self.count:
            return
        yield f"{self.count:,} could not be read:"
        for problem in self._first:
            yield f"  {problem.name!r}: {problem.reason}"
        if self.count > len(self._first):
            yield f"  ... and {self.count - len(self._first):,} more (--errors FILE.csv writes all)"


@contextmanager
def problems_to_file(path: Path | None) -> Iterator[Problems]:
    """Yield the recorder of unreadable images, which writes them to ``path`` atomically unless it is None."""
    if path is None:
        yield Problems(None)
        return
    with writing(path) as temporary, temporary.open("wb") as stream:
        yield Problems(stream)


def csv_line(row: Sequence[str]) -> bytes:
    """Return one line of CSV; surrogate escapes become the bytes that they stand for."""
    return line(row).encode("utf-8", "surrogateescape")


def _number(value: float) -> str:
    return f"{value:.6f}"


def _json(prediction: Prediction) -> bytes:
    content = prediction.to_dict()
    try:
        return json.dumps(content, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return json.dumps(content).encode()
