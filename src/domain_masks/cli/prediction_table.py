"""Predictions as a table on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, BinaryIO, TextIO

from domain_masks.cli.standard_output import say
from domain_masks.deploy.predicting.prediction_writers import Rows

if TYPE_CHECKING:
    from domain_masks.deploy.predicting.prediction import Prediction

_WIDEST = 24


def is_terminal(stream: TextIO) -> bool:
    """Whether a stream is a terminal."""
    try:
        return stream.isatty()
    except ValueError:  # closed
        return False


class TableRows(Rows):
    """A line per image, below a header: probability and class, ``top`` times, each source's vote, the nearest source, path.

    - ``classes``: all classes, by whose names the columns are sized
    """

    _is_first = True

    def __init__(self, stream: BinaryIO, top: int, sources: Sequence[str], classes: Sequence[str]) -> None:
        super().__init__(stream, top, sources)
        longest = min(_WIDEST, max(len(visible(name)) for name in classes))
        self._class = max(longest, len("class" if top == 1 else f"class {top}"))
        self._votes = {source: max(longest, min(_WIDEST, len(visible(source)))) for source in sources}
        self._nearest = max((len(visible(source)) for source in sources), default=0)

    def add(self, prediction: Prediction) -> None:
        """Show one line."""
        if self._is_first:
            titles = {source: source for source in self._sources}
            guesses = [("prob.", "class" if place == 1 else f"class {place}") for place in range(1, self._top + 1)]
            self._show(guesses, titles, "nearest", "image")
            self._is_first = False
        votes = {source: prediction.votes[source].class_name for source in self._sources}
        nearest = prediction.nearest_source or ""
        guesses = [(f"{100 * guess.probability:.1f} %", guess.class_name) for guess in prediction.top[: self._top]]
        self._show(guesses, votes, nearest, prediction.name or "")

    def _show(self, guesses: Sequence[tuple[str, str]], votes: dict[str, str], nearest: str, name: str) -> None:
        columns = []
        for probability, class_name in guesses:
            columns += [f"{probability:>7}", _fitted(class_name, self._class)]
        columns += [_fitted(vote, self._votes[source]) for source, vote in votes.items()]
        if self._sources:
            columns.append(_fitted(nearest, max(min(self._nearest, _WIDEST), len("nearest"))))
        say("  ".join([*columns, visible(name)]))
        sys.stdout.flush()


def visible(text: str) -> str:
    """Return text with control characters, which would move the cursor or change colours, escaped."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def _fitted(text: str, width: int) -> str:
    shown = visible(text)
    return f"{shown[: width - 1]}…" if len(shown) > width else f"{shown:<{width}}"
