"""A manifest's lines and the problems in them: training raises them as one error, a check lists them."""

from __future__ import annotations

import os
import posixpath
import stat
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from domain_masks.data.dataset import SPLIT_NAMES, SPLIT_OF_WORD
from domain_masks.errors import nearest
from domain_masks.records.files import is_there

if TYPE_CHECKING:
    import pandas as pd

REQUIRED = ("path", "label", "domain")
OPTIONAL = ("split", "group")

_NAMED = 5


@dataclass(frozen=True)
class Mistake:
    """A problem with some lines: its subject (a column, a split or a path), the lines it is in, and the full message."""

    kind: Literal["blank", "split", "twice", "missing"]
    subject: str
    detail: str
    text: str


@dataclass
class ManifestTable:
    """A manifest's lines and what is wrong with them.

    - ``columns``: all columns of the file
    - ``rows``: the known columns, as stripped text; the index numbers lines from 1
    - ``word``: the name of a line in messages: line or row
    """

    source: Path
    columns: tuple[str, ...]
    rows: pd.DataFrame
    word: str
    mistakes: list[Mistake] = field(default_factory=list)

    @property
    def unused(self) -> list[str]:
        """The named columns that are not used."""
        return [name for name in self.columns if name and name not in (*REQUIRED, *OPTIONAL)]

    @property
    def lacking(self) -> dict[str, str | None]:
        """The missing required columns, each with the name of a similar column, or None."""
        return {name: nearest(name, self.unused) for name in REQUIRED if name not in self.columns}

    def check_cells(self) -> None:
        """Record empty cells and unknown splits, which become empty; drop optional columns that are entirely empty."""
        for name in OPTIONAL:
            if name in self.rows and (self.rows[name] == "").all():
                self.rows = self.rows.drop(columns=name)
        for name in self.rows.columns:
            empty = self.rows.index[self.rows[name] == ""].tolist()
            if empty:
                hint = ": expected it everywhere or nowhere" if name in OPTIONAL else ""
                detail = f"is empty in {self._lines(empty)}{hint}"
                self.mistakes.append(Mistake("blank", name, detail, f"{name} {detail}"))
        if "split" in self.rows:
            words = self.rows["split"].str.lower()
            unknown = self.rows["split"][~words.isin([*SPLIT_OF_WORD, ""])]
            for word, lines in unknown.groupby(unknown).groups.items():
                guess = nearest(str(word), SPLIT_OF_WORD)
                hint = f", did you mean {guess!r}?" if guess else ""
                detail = f"in {self._lines(lines.tolist())}: expected {', '.join(SPLIT_NAMES)}{hint}"
                self.mistakes.append(Mistake("split", str(word), detail, f"split {word!r} {detail}"))
            self.rows = self.rows.assign(split=words.map(SPLIT_OF_WORD).fillna(""))

    def find_files(self, directory: Path) -> list[tuple[int, int]]:
        """Make paths relative, record repeated and missing ones, and return every file's size and modification time."""
        roots = (str(directory.resolve()), str(directory.absolute()))
        paths = [_relative(path, roots) if path else "" for path in self.rows["path"].tolist()]
        self.rows = self.rows.assign(path=paths)
        self._note_repeated(roots[0])
        states = []
        missing: dict[str, list[int]] = {}
        for line, path in zip(self.rows.index.tolist(), paths, strict=True):
            try:
                state = os.stat(os.path.join(roots[0], path))  # noqa: PTH116, PTH118 - half a million paths
            except (OSError, ValueError):
                state = None
            if state is not None and stat.S_ISREG(state.st_mode):
                states.append((state.st_size, state.st_mtime_ns))
            elif path:
                missing.setdefault(path, []).append(line)
        for path, lines in missing.items():
            detail = f"there is no file {path!r}" + ("" if path.startswith("/") else f" in {str(directory)!r}")
            if other := _other_form(roots[0], path):
                detail += f", but one whose name is the same in another Unicode form: {other!a}"
            self.mistakes.append(Mistake("missing", path, detail, f"{self._lines(lines)}: {detail}"))
        return states

    def _note_repeated(self, root: str) -> None:
        # One file may be listed by a relative and by an absolute path.
        places = self.rows["path"].map(lambda path: posixpath.normpath(posixpath.join(root, path)))
        repeated = self.rows[places.duplicated(keep=False) & (self.rows["path"] != "")]
        for _, same in repeated.groupby(places[repeated.index], sort=False):
            name, labels = same["path"].iloc[0], list(dict.fromkeys(same["label"]))
            hint = f" with different labels: {', '.join(map(repr, labels))}" if len(labels) > 1 else ""
            detail = f"is in {self._lines(same.index.tolist())}{hint}"
            self.mistakes.append(Mistake("twice", name, detail, f"path {name!r} {detail}"))

    def _lines(self, numbers: list[int]) -> str:
        shown = ", ".join(map(str, numbers[:_NAMED])) + (f" and {len(numbers) - _NAMED} more" * (len(numbers) > _NAMED))
        return f"{self.word}{'s' * (len(numbers) > 1)} {shown}"


def _other_form(root: str, path: str) -> str | None:
    """Return the path of the file that differs in Unicode's composed and decomposed letters alone, if there is one."""
    forms = (unicodedata.normalize(form, path) for form in ("NFC", "NFD"))
    return next((form for form in forms if form != path and is_there(posixpath.join(root, form))), None)


def _relative(path: str, roots: tuple[str, str]) -> str:
    """Return the image's id: its normalized path with forward slashes, relative to a root that contains it.

    An absolute path outside of the roots stays absolute.
    """
    path = path.replace("\\", "/")
    if not path.startswith("/"):
        return posixpath.normpath(path)
    path = posixpath.normpath(path)
    inside = next((root for root in roots if path.startswith(root.rstrip("/") + "/")), None)
    return path if inside is None else posixpath.relpath(path, inside)
