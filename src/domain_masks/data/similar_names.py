"""Names of classes, domains and groups that look alike, or look like no name."""

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
    """Return what is left of a name without quotes, blanks around it, case, invisible letters and forms of the same letter."""
    plain = unicodedata.normalize("NFKC", name)
    kept = "".join(
        letter for letter in plain if letter not in _QUOTES and unicodedata.category(letter) not in _INVISIBLE
    )
    # Folding the case of a composed letter may take it apart.
    return " ".join(unicodedata.normalize("NFKC", kept.casefold()).split())


def folded(name: str) -> str:
    """Return what is left of :func:`outer_form` without blanks, underscores, hyphens and points; whole numbers as such."""
    form = outer_form(name)
    number = _WHOLE.fullmatch(form)
    if number is not None:
        return ("-" if form.startswith("-") else "") + number[1]
    return re.sub(r"[\s_\-.]+", "", form) or form


def spellings(names: Iterable[str], strict: bool = False) -> list[tuple[str, ...]]:
    """Return the sets of names that are one name written in several ways, by :func:`folded`.

    ``strict`` goes by :func:`outer_form`: among codes such as p-1-2 and p-12 a hyphen makes a difference.
    """
    alike: defaultdict[str, list[str]] = defaultdict(list)
    for name in dict.fromkeys(names):
        alike[outer_form(name) if strict else folded(name)].append(name)
    return [tuple(same) for same in alike.values() if len(same) > 1]


def stands_for_nothing(name: str) -> bool:
    """Return whether a name is a program's word for a missing value, such as NaN and null."""
    return outer_form(name) in _NO_NAME or not outer_form(name)


def may_stand_for_nothing(name: str) -> bool:
    """Return whether a name may be a word for a missing value or a real name, such as none and NA."""
    return outer_form(name) in _PERHAPS_NO_NAME


def name_notes(classes: Iterable[str], domains: Iterable[str]) -> tuple[str, ...]:
    """Return a note for the classes and one for the domains whose names look alike."""
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
