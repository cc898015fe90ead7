"""Numbers with their nouns, and names, as in a sentence."""

from __future__ import annotations

from collections.abc import Sequence


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun: "1 image", "1,204 images"; ``plural`` where that is not ``noun`` with an s."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def listed(names: Sequence[str]) -> str:
    """Return names as in a sentence: "a, b and c"."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def first_of(names: Sequence[str], most: int = 5) -> str:
    """Return the first names in quotes, and that there are more: "'a', 'b', ..."."""
    return ", ".join(map(repr, names[:most])) + (", ..." if len(names) > most else "")


def duration(seconds: float) -> str:
    """Return a time as in a sentence: "12 s", "14 min", "2.5 h"."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, rest = divmod(minutes, 60)
    return f"{hours} h {rest} min" if hours < 48 else f"{hours / 24:.1f} days"
