"""Columns of Hugging Face tables; each split has its own type, so class labels are matched by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from domain_masks.data.dataset import Int64Array, ordered_names, positions_of
from domain_masks.errors import InputError, collected

_UNLABELLED = -1


@dataclass(frozen=True)
class SplitColumn:
    """A column of one split, (N,) values.

    - ``names``: the names of its type, for class labels; None for texts and numbers
    - ``values``: as stored: indices into ``names``, texts or whole numbers; None for a missing value
    """

    names: tuple[str, ...] | None
    values: list[Any]

    @classmethod
    def of(cls, table: Any, column: str) -> SplitColumn:
        """Read a column of a split."""
        names = getattr(table.features[column], "names", None)
        # Arrow's values, without decoding: class labels stay indices.
        values = table.select_columns([column]).with_format("arrow")[:].column(column).to_pylist()
        return cls(None if names is None else tuple(names), values)

    @property
    def texts(self) -> list[str | None]:
        """The name of each value; None for a missing value or an index without a name."""
        if self.names is None:
            return [None if value is None else str(value) for value in self.values]
        known = range(len(self.names))
        return [self.names[value] if value in known else None for value in self.values]

    @property
    def kind(self) -> str:
        """Kind of the values: class labels, texts or numbers."""
        if self.names is not None:
            return "class labels"
        return "texts" if any(isinstance(value, str) for value in self.values) else "numbers"


def without_unlabelled(subject: str, parts: Mapping[str, Any], column: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Leave out splits without labels, such as published test splits: no column, no values, or only -1.

    Returns the other splits, and a note for each that is left out; all splits where none has labels.
    """
    bare = {name for name, part in parts.items() if column not in part.features}
    columns = {name: SplitColumn.of(part, column) for name, part in parts.items() if name not in bare}
    bare |= {name for name, own in columns.items() if not any(text is not None for text in own.texts)}
    minus = {name for name, own in columns.items() if own.names is None and set(own.values) == {_UNLABELLED}}
    if minus and not any(_UNLABELLED in own.values for name, own in columns.items() if name not in minus):
        bare |= minus
    if len(bare) == len(parts):
        return dict(parts), ()
    notes = tuple(
        f"{subject}: the split {name!r} ({len(parts[name])} rows) has no labels and is left out"
        for name in sorted(bare)
    )
    return {name: part for name, part in parts.items() if name not in bare}, notes


def read_column(subject: str, role: str, column: str, parts: Mapping[str, Any]) -> tuple[tuple[str, ...], Int64Array]:
    """Return the names in a column of all splits, and the position of every row's value in them, (N,) int64.

    Class labels are matched by their names: the first split that has them sets the order, and further names of others
    are appended.
    Texts and whole numbers are sorted. ``subject`` is the dataset's name in messages, ``role`` the column's role.

    Raises InputError where a split lacks the column, or rows a value; for other types; and where one split has numbers and
    another one names, which cannot be matched.
    """
    columns = {name: SplitColumn.of(part, column) for name, part in parts.items() if column in part.features}
    if lacking := [repr(name) for name in parts if name not in columns]:
        raise InputError(
            f"{subject}: expected the column {column!r} ({role}) in every split, got none in {', '.join(lacking)}; name "
            f"another with #{role}=COLUMN"
        )
    _check_types(subject, role, column, columns)
    texts = [text for own in columns.values() for text in own.texts]
    empty = [
        f"column {column!r} has no value in {count} of {len(own.values)} rows"
        + f" of the split {name!r}" * (len(parts) > 1)
        for name, own in columns.items()
        if (count := own.texts.count(None))
    ]
    if empty:
        advice = f"expected a {role} everywhere; choose another column or leave those rows out"
        raise collected(subject, empty, advice)
    _check_kinds(subject, role, column, columns)
    known = [text for text in texts if text is not None]
    listed = dict.fromkeys(name for own in columns.values() for name in own.names or ())
    if role != "label":
        # A class may have no images; a domain or a group may not.
        occurring = set(known)
        listed = {name: None for name in listed if name in occurring}
    names = (*listed, *ordered_names(text for text in known if text not in listed))
    return names, positions_of(known, names)


def _check_types(subject: str, role: str, column: str, columns: Mapping[str, SplitColumn]) -> None:
    values = (value for own in columns.values() for value in own.values)
    odd = next((value for value in values if value is not None and not isinstance(value, str | int)), None)
    if odd is not None:
        raise InputError(
            f"{subject}: expected the {role} in column {column!r} to be class labels, texts or whole numbers, got "
            f"{type(odd).__name__}; name another with #{role}=COLUMN"
        )


def _check_kinds(subject: str, role: str, column: str, columns: Mapping[str, SplitColumn]) -> None:
    kinds = {name: own.kind for name, own in columns.items()}
    if "numbers" not in kinds.values() or all(_are_numbers(own) for own in columns.values()):
        return
    listed = "; ".join(f"{name!r} has {kind}" for name, kind in kinds.items())
    raise InputError(
        f"{subject}: expected the {role} in column {column!r} to be of one kind in every split, got: {listed}. Which names "
        "the numbers stand for is not said: write names in every split"
    )


def _are_numbers(own: SplitColumn) -> bool:
    """Whether all texts are numbers, as another split may store them."""
    if own.names is not None:
        return own.names == tuple(str(place) for place in range(len(own.names)))
    return all(
        isinstance(value, int) or str(value).lstrip("-").isdecimal() for value in own.values if value is not None
    )
