"""Image files named by paths, folders, patterns and lists, one after the other, without a list of them all."""

from __future__ import annotations

import codecs
import glob
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import BinaryIO

from domain_masks.data.folders import is_ignored, is_image_name
from domain_masks.data.text_files import LONGEST_MARK, MARKS, encoding_of
from domain_masks.errors import InputError
from domain_masks.records.files import is_there

STANDARD_INPUT = "-"
_ANY_FOLDERS = "**"
_SORTED = 10_000
_PIECE = 1 << 16
_LONGEST = 1 << 16


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An image that cannot be read, and why."""

    name: str
    reason: str


def find_images(places: Iterable[str]) -> Iterator[str | Unreadable]:
    """Yield the path of every image that ``places`` name; a place without one gives an :class:`Unreadable`.

    - a file is taken whatever it is called
    - a folder gives all images below it, by their extension, hidden ones left out, those of a folder before those of its
      subfolders, each sorted by name (in a folder of more than 10,000 entries, 10,000 at a time)
    - what does not exist and has ``*``, ``?`` or ``[`` is a pattern, in which ``**`` stands for any folders; what it
      matches is taken as if it had been named; what lies behind a link back to a folder above is left out
    """
    for place in places:
        if os.path.isdir(place):  # noqa: PTH112 - paths stay the texts that they are
            yield from _or_problem(_below(place), place, "a folder without images")
        elif is_there(place) or not glob.has_magic(place):
            yield place
        else:
            yield from _or_problem(_matching(place), place, "nothing matches this pattern")


def listed_places(stream: BinaryIO, null: bool = False) -> Iterator[str]:
    """Yield the paths in a stream, one per line, or one per null byte; empty lines are left out.

    Lines end with a line feed, with or without a carriage return before it. A byte-order mark, as editors and shells of
    Windows write it, says the encoding; without one bytes are paths as they are. With ``null`` all bytes are.

    Raises InputError for a line that is far longer than a path can be, and where the text is not in the marked encoding.
    """
    if null:
        yield from map(os.fsdecode, filter(None, _pieces(stream, b"", b"\0")))
        return
    start = _start(stream)
    encoding, length = encoding_of(start)
    if encoding == "utf-8":
        for line in _pieces(stream, start[length:], b"\n"):
            if path := line.removesuffix(b"\r"):
                yield os.fsdecode(path)
    else:
        for whole in _lines(stream, start[length:], encoding):
            if name := whole.removesuffix("\r"):
                yield name


def _start(stream: BinaryIO) -> bytes:
    """Return the first bytes of a stream: no more than are needed to tell whether they are a byte-order mark."""
    start = b""
    while len(start) < LONGEST_MARK and any(mark.startswith(start) for mark in MARKS):
        # More may never come: whoever writes the list may wait for answers.
        piece = _some(stream, LONGEST_MARK - len(start))
        if not piece:
            break
        start += piece
    return start


def _some(stream: BinaryIO, most: int) -> bytes:
    """Return whatever there is by now, waiting for the first byte; nothing at the end."""
    piece: bytes = stream.read1(most) if hasattr(stream, "read1") else stream.read(most)
    return piece


def _pieces(stream: BinaryIO, start: bytes, separator: bytes) -> Iterator[bytes]:
    """Yield what stands before each separator, and the rest behind the last one."""
    *lines, rest = start.split(separator)
    yield from lines
    while piece := _some(stream, _PIECE):
        *lines, rest = (rest + piece).split(separator)
        yield from lines
        _refuse_endless(len(rest), "the end of a line" if separator == b"\n" else "a null byte")
    yield rest


def _lines(stream: BinaryIO, start: bytes, encoding: str) -> Iterator[str]:
    """Yield the lines of a text, as :func:`_pieces` does."""
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        *lines, rest = decoder.decode(start).split("\n")
        yield from lines
        while piece := _some(stream, _PIECE):
            *lines, rest = (rest + decoder.decode(piece)).split("\n")
            yield from lines
            _refuse_endless(len(rest), "the end of a line")
        yield rest + decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise InputError(
            f"standard input is marked as {encoding.upper()}, and has other bytes: write the list as UTF-8"
        ) from error


def _refuse_endless(length: int, expected: str) -> None:
    if length > _LONGEST:
        raise InputError(
            f"standard input is no list of paths: expected {expected} after each, got more than {_LONGEST:,} bytes without one"
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
    for match in _matches(pattern):
        if os.path.isdir(match):  # noqa: PTH112
            if not everywhere:
                yield from _below(match)
        else:
            yield match


def _matches(pattern: str) -> Iterator[str]:
    """Yield what :func:`glob.iglob` would, but going into no folder twice: of two links in circles that one finds no end."""
    parts = pattern.split(os.sep)  # noqa: PTH206 - a path's "./" and "//" stay
    if _ANY_FOLDERS not in parts:
        yield from glob.iglob(pattern)  # noqa: PTH207 - paths stay the texts that they are
        return
    place = parts.index(_ANY_FOLDERS)
    base = os.sep.join(parts[:place]) or (os.sep if pattern.startswith(os.sep) else "")  # noqa: PTH118
    rest = [part for part in parts[place + 1 :] if part] or ["*"]
    for root in _matches(base) if glob.has_magic(base) else [base]:
        for found in _tree(root):
            if not isinstance(found, Unreadable) and found.is_first:
                yield from _matches(os.path.join(glob.escape(found.folder), *rest))  # noqa: PTH118


@dataclass(frozen=True)
class _Chunk:
    """Some of the entries of a folder, sorted by name, hidden ones left out."""

    folder: str
    entries: list[os.DirEntry[str]]
    is_first: bool


def _below(folder: str) -> Iterator[str | Unreadable]:
    """Yield the images in a folder and its subfolders; a link back to a folder above is not followed."""
    for found in _tree(folder):
        if isinstance(found, Unreadable):
            yield found
        else:
            yield from (entry.path for entry in filter(_is_image, found.entries))


def _tree(root: str) -> Iterator[_Chunk | Unreadable]:
    """Yield the entries of a folder, then those of its subfolders; links are followed, but into no folder from within it."""
    waiting: list[tuple[str, tuple[tuple[int, int], ...]]] = [(root, ())]
    while waiting:
        here, above = waiting.pop()
        subfolders: list[str] = []
        try:
            state = os.stat(here or os.curdir)  # noqa: PTH116
            place = (state.st_dev, state.st_ino)
            if place in above:
                continue
            with os.scandir(here or os.curdir) as entries:
                is_first = True
                while (chunk := sorted(islice(entries, _SORTED), key=lambda entry: entry.name)) or is_first:
                    visible = [entry for entry in chunk if not is_ignored(entry.name)]
                    subfolders += [os.path.join(here, entry.name) for entry in visible if _is_folder(entry)]  # noqa: PTH118
                    yield _Chunk(here, visible, is_first)
                    is_first = False
        except OSError as error:
            yield Unreadable(here, (error.strerror or str(error)).lower())
        waiting += [(path, (*above, place)) for path in sorted(subfolders, reverse=True)]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _is_image(entry: os.DirEntry[str]) -> bool:
    return is_image_name(entry.name) and not _is_folder(entry)
