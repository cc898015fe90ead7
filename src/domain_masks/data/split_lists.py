"""Image lists with lines "path label", by which published datasets define their splits."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from domain_masks.data.text_files import decoded_text

LISTS_FOLDER = "splits"
"""The folder of lists beside the domain folders."""


class ListLine(NamedTuple):
    """A line of a list: its number from 1, its path and its label."""

    number: int
    path: str
    label: int


def read_split_list(file: Path) -> tuple[list[ListLine], dict[int, str]]:
    """Return the lines of a list, and malformed ones by their numbers; blank ones are skipped.

    Bytes of a path that are not UTF-8 are kept. Raises OSError or UnicodeDecodeError if the file cannot be read.
    """
    lines, odd = [], {}
    for number, line in enumerate(decoded_text(file.read_bytes(), errors="surrogateescape").splitlines(), start=1):
        path, _, label = line.strip().rpartition(" ")
        if path and label.isdecimal():
            lines.append(ListLine(number, path.strip(), int(label)))
        elif line.strip():
            odd[number] = line
    return lines, odd


class ImagePaths:
    """The paths of a dataset's images; lookups ignore a different extension in a list."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._paths = frozenset(paths)
        self._by_stem = {_stem(path): path for path in self._paths}

    def find(self, listed: str) -> str | None:
        """Return the path of a listed image; None where there is no such image."""
        return listed if listed in self._paths else self._by_stem.get(_stem(listed))


def _stem(path: str) -> str:
    return str(PurePosixPath(path).with_suffix(""))
