"""Detect names of classes, domains and groups that look alike or stand for a missing value."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable

_QUOTES = "\"'`´‘’‚‛“”„‟«»‹›′″"
_INVISIBLE = ("Cf", "Cc")
_WHOLE = re.compile(r"[+-]?0*(\d+)(\.0*)?", re.ASCII)
_NO_NAME = {"nan", "null", "n/a", "#n/a", "<na>", "nat", "nil", "undefined"}
_PERHAPS_NO_NAME = {"none", "na", "missing", "?", "-", "--"}


def outer_form(name: str) -> str:
    """Return a name without quotes, outer blanks, case, invisible characters and variants of a letter."""
    plain = unicodedata.normalize("NFKC", name)
    kept = "".join(
        letter for letter in plain if letter not in _QUOTES and unicodedata.category(letter) not in _INVISIBLE
    )
    # Case folding may decompose a composed letter.
    return " ".join(unicodedata.normalize("NFKC", kept.casefold()).split())


def folded(name: str) -> str:
    """Return :func:`outer_form` without blanks, underscores, hyphens and points; whole numbers by value."""
    form = outer_form(name)
    number = _WHOLE.fullmatch(form)
    if number is not None:
        return ("-" if form.startswith("-") else "") + number[1]
    return re.sub(r"[\s_\-.]+", "", form) or form


def spellings(names: Iterable[str], strict: bool = False) -> list[tuple[str, ...]]:
    """Return the sets of names that are spellings of one name, by :func:`folded`.

    ``strict`` compares by :func:`outer_form`: among codes such as p-1-2 and p-12 a hyphen makes a difference.
    """
    alike: defaultdict[str, list[str]] = defaultdict(list)
    for name in dict.fromkeys(names):
        alike[outer_form(name) if strict else folded(name)].append(name)
    return [tuple(same) for same in alike.values() if len(same) > 1]


def stands_for_nothing(name: str) -> bool:
    """Return whether a name is a common marker of missing values, such as NaN and null."""
    return outer_form(name) in _NO_NAME or not outer_form(name)


def may_stand_for_nothing(name: str) -> bool:
    """Return whether a name may mark a missing value or be a real name, such as none and NA."""
    return outer_form(name) in _PERHAPS_NO_NAME


def name_notes(classes: Iterable[str], domains: Iterable[str]) -> tuple[str, ...]:
    """Return a note about classes and one about domains whose names look alike."""
    notes = []
    for plural, names in (("classes", classes), ("domains", domains)):
        if several := spellings(names):
            shown = " and ".join(f"{name!a}" for name in several[0])
            more = f" ({len(several) - 1} more such sets)" if len(several) > 1 else ""
            notes.append(
                f"{shown} count as different {plural}, though they are spelled nearly alike{more}: `dmg data check` says how "
                "they differ"
            )
    return tuple(notes)
