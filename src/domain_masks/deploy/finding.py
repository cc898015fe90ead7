"""Picture files named by paths, folders, patterns and lists, one after the other, without a list of them all."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import BinaryIO

from domain_masks.data.folders import EXTENSIONS
from domain_masks.deploy.inputs import Unreadable
from domain_masks.errors import InputError
from domain_masks.records.files import is_there

STANDARD_INPUT = "-"
_SORTED = 10_000
_PIECE = 1 << 16
_LONGEST = 1 << 16


def find_pictures(places: Iterable[str]) -> Iterator[str | Unreadable]:
    """Yield the path of every picture that ``places`` name; a place without one gives an :class:`Unreadable`.

    - a file is taken whatever it is called
    - a folder gives all pictures below it, by their extension, hidden ones left out, those of a folder before those of its
      subfolders, each sorted by name (in a folder of more than 10,000 entries, 10,000 at a time)
    - what does not exist and has ``*``, ``?`` or ``[`` is a pattern, in which ``**`` stands for any folders; what it
      matches is taken as if it had been named
    """
    for place in places:
        if os.path.isdir(place):  # noqa: PTH112 - paths stay the texts that they are
            yield from _or_problem(_below(place), place, "a folder without pictures")
        elif is_there(place) or not glob.has_magic(place):
            yield place
        else:
            yield from _or_problem(_matching(place), place, "nothing matches this pattern")


def listed_places(stream: BinaryIO, null: bool = False) -> Iterator[str]:
    """Yield the paths in a stream, one per line, or one per null byte; empty lines are left out.

    Raises InputError for a line that is far longer than a path can be.
    """
    separator = b"\0" if null else b"\n"
    rest = b""
    while True:
        # Whatever there is by now: whoever writes the list may wait for answers.
        piece = stream.read1(_PIECE) if hasattr(stream, "read1") else stream.read(_PIECE)
        lines = (rest + piece).split(separator)
        rest = b"" if not piece else lines.pop()
        for line in lines:
            path = line if null else line.removesuffix(b"\r")
            if path:
                yield os.fsdecode(path)
        if not piece:
            return
        if len(rest) > _LONGEST:
            raise InputError(
                f"standard input is no list of paths: expected {'a null byte' if null else 'the end of a line'} after each, "
                f"got more than {_LONGEST:,} bytes without one"
            )


def _or_problem(found: Iterator[str | Unreadable], place: str, problem: str) -> Iterator[str | Unreadable]:
    is_empty = True
    for item in found:
        is_empty = False
        yield item
    if is_empty:
        yield Unreadable(place, problem)


def _matching(pattern: str) -> Iterator[str | Unreadable]:
    # With ** and a star at the end a folder's own files are matched beside it.
    everywhere = "**" in pattern and os.path.basename(pattern) in ("", "*", "**")  # noqa: PTH119
    for match in glob.iglob(pattern, recursive=True):  # noqa: PTH207 - paths stay the texts that they are
        if os.path.isdir(match):  # noqa: PTH112
            if not everywhere:
                yield from _below(match)
        else:
            yield match


def _below(folder: str) -> Iterator[str | Unreadable]:
    """Yield the pictures in a folder and its subfolders; a link back to a folder above is not followed."""
    waiting: list[tuple[str, tuple[tuple[int, int], ...]]] = [(folder, ())]
    while waiting:
        here, above = waiting.pop()
        subfolders: list[str] = []
        try:
            state = os.stat(here)  # noqa: PTH116
            place = (state.st_dev, state.st_ino)
            if place in above:
                continue
            with os.scandir(here) as entries:
                while chunk := sorted(islice(entries, _SORTED), key=lambda entry: entry.name):
                    visible = [entry for entry in chunk if not entry.name.startswith(".")]
                    subfolders += [entry.path for entry in visible if _is_folder(entry)]
                    yield from (entry.path for entry in visible if _is_picture(entry))
        except OSError as error:
            yield Unreadable(here, (error.strerror or str(error)).lower())
        waiting += [(path, (*above, place)) for path in sorted(subfolders, reverse=True)]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _is_picture(entry: os.DirEntry[str]) -> bool:
    return entry.name.lower().endswith(EXTENSIONS) and not _is_folder(entry)
