"""Walk a dataset's whole folder without raising errors."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from domain_masks.data.folders import is_ignored, is_image_name
from domain_masks.data.split_lists import LISTS_FOLDER

LEVELS = 2
"""Levels of folders: of domains, and of classes."""


@dataclass
class FolderTree:
    """The content of a folder; all paths are relative to it, with forward slashes.

    - ``images``: at ``domain/class/image``; ``misplaced``: image files at any other depth
    - ``folders``: of the first and second level
    - ``ignored``: files that are not images by their extension; ``hidden``: names that start with a dot or are created
      by operating systems
    - ``special``: pipes, sockets and devices, which are never opened: reading a pipe can block for ever
    - ``broken_links``: to nothing; ``loops``: links to themselves or to a folder that holds them
    - ``closed``: folders that cannot be listed
    - ``lists``: text files in the folder itself or in ``splits``
    """

    images: list[str] = field(default_factory=list)
    misplaced: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)
    special: list[str] = field(default_factory=list)
    broken_links: list[str] = field(default_factory=list)
    loops: list[str] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    lists: list[str] = field(default_factory=list)


def walk(root: Path) -> FolderTree:
    """Return the sorted content of ``root``; links to folders are followed, but not in circles."""
    tree = FolderTree()
    waiting: list[tuple[str, frozenset[str]]] = [("", frozenset({os.path.realpath(root)}))]
    while waiting:
        folder, above = waiting.pop()
        try:
            with os.scandir(root / folder) as entries:
                names = sorted(entry.name for entry in entries)
        except OSError:
            tree.closed.append(folder)
            continue
        for name in names:
            path = f"{folder}/{name}" if folder else name
            kind = _kind(root / path, above)
            if is_ignored(name):
                tree.hidden.append(path)
            elif kind == "folder":
                if path.count("/") < LEVELS:
                    tree.folders.append(path)
                waiting.append((path, above | {os.path.realpath(root / path)}))
            elif kind == "loop":
                tree.loops.append(path)
            elif kind == "broken":
                tree.broken_links.append(path)
            elif kind == "special":
                tree.special.append(path)
            else:
                _sort_file(tree, path)
    for content in vars(tree).values():
        content.sort()
    return tree


def _kind(path: Path, above: frozenset[str]) -> str:
    if path.is_symlink():
        try:
            os.stat(path)  # noqa: PTH116 - Path.exists hides the difference between a loop and a broken link
        except FileNotFoundError:
            return "broken"
        except OSError:
            return "loop"
    try:
        mode = path.stat().st_mode
    except OSError:
        return "file"
    if stat.S_ISDIR(mode):
        return "loop" if os.path.realpath(path) in above else "folder"
    return "file" if stat.S_ISREG(mode) else "special"


def _sort_file(tree: FolderTree, path: str) -> None:
    depth = path.count("/")
    if is_image_name(path):
        (tree.images if depth == LEVELS else tree.misplaced).append(path)
    elif path.lower().endswith(".txt") and (depth == 0 or (depth == 1 and path.startswith(f"{LISTS_FOLDER}/"))):
        tree.lists.append(path)
    else:
        tree.ignored.append(path)
