"""Iterate over image files named by paths, folders, patterns and lists, without holding the whole list in memory."""

from __future__ import annotations

import codecs
import glob
import os
from collections.abc import Iterable, Iterator, Sequence
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
    """Yield the path of every image named by ``places``; a place without images yields an :class:`Unreadable`.

    - a file is yielded whatever its name
    - a folder yields all images below it by extension, without hidden files; the files of a folder come before those of its
      subfolders, each sorted by name (in a folder of more than 10,000 entries, 10,000 at a time)
    - a path that does not exist and contains ``*``, ``?`` or ``[`` is a pattern, in which ``**`` matches any number of
      folders; its matches are treated as if they had been named. Links back to a parent folder are not followed
    """
    for place in places:
        if os.path.isdir(place):  # noqa: PTH112 - pathlib would normalise the path
            yield from _or_problem(_below(place), place, "a folder without images")
        elif is_there(place) or not glob.has_magic(place):
            yield place
        else:
            yield from _or_problem(_matching(place), place, "nothing matches this pattern")


class Images(Iterable["str | Unreadable"]):
    """The images that :func:`find_images` finds, again each time that they are iterated over."""

    def __init__(self, places: Sequence[str]) -> None:
        self._places = tuple(places)

    def __iter__(self) -> Iterator[str | Unreadable]:
        return find_images(self._places)


def listed_places(stream: BinaryIO, null: bool = False) -> Iterator[str]:
    """Yield the paths in a stream, separated by line ends, or by null bytes with ``null``; empty ones are skipped.

    Lines end with LF or CRLF. A byte-order mark, as written by Windows editors and shells, selects the encoding; without one,
    and always with ``null``, paths are taken byte for byte.

    Raises InputError for a line longer than any path can be, and for text that is not in the encoding of its mark.
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
    """Return the first bytes of a stream, no more than needed to recognise a byte-order mark."""
    start = b""
    while len(start) < LONGEST_MARK and any(mark.startswith(start) for mark in MARKS):
        # Do not block for more: the writer of the list may be waiting for predictions.
        piece = _some(stream, LONGEST_MARK - len(start))
        if not piece:
            break
        start += piece
    return start


def _some(stream: BinaryIO, most: int) -> bytes:
    """Return the bytes available now, blocking for the first one; empty at the end of the stream."""
    piece: bytes = stream.read1(most) if hasattr(stream, "read1") else stream.read(most)
    return piece


def _pieces(stream: BinaryIO, start: bytes, separator: bytes) -> Iterator[bytes]:
    """Yield the bytes before each separator, then the rest after the last one."""
    *lines, rest = start.split(separator)
    yield from lines
    while piece := _some(stream, _PIECE):
        *lines, rest = (rest + piece).split(separator)
        yield from lines
        _refuse_endless(len(rest), "the end of a line" if separator == b"\n" else "a null byte")
    yield rest


def _lines(stream: BinaryIO, start: bytes, encoding: str) -> Iterator[str]:
    """Yield the lines of a text in an encoding other than UTF-8, see :func:`_pieces`."""
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
            f"standard input starts with the mark of {encoding.upper()} but is not in that encoding: write the list as UTF-8"
        ) from error


def _refuse_endless(length: int, expected: str) -> None:
    if length > _LONGEST:
        raise InputError(
            f"standard input is not a list of paths: expected {expected} after each path, got {_LONGEST:,} bytes without one"
        )


def _or_problem(paths: Iterator[str | Unreadable], place: str, problem: str) -> Iterator[str | Unreadable]:
    is_empty = True
    for path in paths:
        is_empty = False
        yield path
    if is_empty:
        yield Unreadable(place, problem)


def _matching(pattern: str) -> Iterator[str | Unreadable]:
    # Such a pattern, as in photos/**/*, matches the files in subfolders itself: matched folders need not be walked.
    everywhere = "**" in pattern and os.path.basename(pattern) in ("", "*", "**")  # noqa: PTH119
    for match in _matches(pattern):
        if os.path.isdir(match):  # noqa: PTH112
            if not everywhere:
                yield from _below(match)
        else:
            yield match


def _matches(pattern: str) -> Iterator[str]:
    """Yield the matches of :func:`glob.iglob` without entering a folder twice: it does not end on two circular links."""
    parts = pattern.split(os.sep)  # noqa: PTH206 - pathlib would drop "./" and "//"
    if _ANY_FOLDERS not in parts:
        yield from glob.iglob(pattern)  # noqa: PTH207 - pathlib would normalise the paths
        return
    place = parts.index(_ANY_FOLDERS)
    base = os.sep.join(parts[:place]) or (os.sep if pattern.startswith(os.sep) else "")  # noqa: PTH118
    rest = [part for part in parts[place + 1 :] if part] or ["*"]
    for root in _matches(base) if glob.has_magic(base) else [base]:
        for chunk in _tree(root):
            if not isinstance(chunk, Unreadable) and chunk.is_first:
                yield from _matches(os.path.join(glob.escape(chunk.folder), *rest))  # noqa: PTH118


@dataclass(frozen=True)
class _Chunk:
    """Some of the entries of a folder, sorted by name, without hidden ones."""

    folder: str
    entries: list[os.DirEntry[str]]
    is_first: bool


def _below(folder: str) -> Iterator[str | Unreadable]:
    """Yield the images in a folder and its subfolders; a link back to a parent folder is not followed."""
    for chunk in _tree(folder):
        if isinstance(chunk, Unreadable):
            yield chunk
        else:
            yield from (entry.path for entry in filter(_is_image, chunk.entries))


def _tree(root: str) -> Iterator[_Chunk | Unreadable]:
    """Yield the entries of a folder, then those of its subfolders; links are followed, except back to a parent folder."""
    waiting: list[tuple[str, tuple[tuple[int, int], ...]]] = [(root, ())]
    while waiting:
        here, parents = waiting.pop()
        subfolders: list[str] = []
        try:
            state = os.stat(here or os.curdir)  # noqa: PTH116
            place = (state.st_dev, state.st_ino)
            if place in parents:
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
        waiting += [(path, (*parents, place)) for path in sorted(subfolders, reverse=True)]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _is_image(entry: os.DirEntry[str]) -> bool:
    return is_image_name(entry.name) and not _is_folder(entry)
