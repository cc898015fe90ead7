"""Numbers with their nouns, in words."""

from __future__ import annotations


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun: "1 image", "1,204 images"; ``plural`` where that is not ``noun`` with an s."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
