"""Shortened names of domains and classes for axes and legends, and their width in columns."""

from __future__ import annotations

import unicodedata

from domain_masks.records.files import printable

LONGEST = 28
"""Most columns of a name along an axis or in a legend; tables have the whole name."""


def shortened(name: str, most: int = LONGEST) -> str:
    """Return a name that takes ``most`` columns at most, with an ellipsis in its middle where it was longer.

    Characters that cannot be printed, such as bytes that are not UTF-8, are escaped.
    """
    name = printable(name)
    if columns_of(name) <= most:
        return name
    head, tail = name, name
    while columns_of(head) > (most - 1) * 2 // 3:
        head = head[:-1]
    while columns_of(tail) > (most - 1) - (most - 1) * 2 // 3:
        tail = tail[1:]
    return f"{head}…{tail}"


def columns_of(text: str) -> int:
    """Return how many columns a text takes: letters of Chinese, Japanese and Korean, and emoji, are twice as wide."""
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    return len(text) + wide - sum(unicodedata.combining(letter) > 0 for letter in text)
