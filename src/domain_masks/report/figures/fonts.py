"""Fonts for the characters of names: installed ones for those that matplotlib's own font lacks."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import is_dataclass
from functools import cache
from typing import Any

from matplotlib import font_manager
from matplotlib.ft2font import FT2Font

OWN = "DejaVu Sans"
"""Bundled with matplotlib."""
PREFERRED = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Noto Sans CJK KR",
    "Noto Sans SC",
    "Source Han Sans SC",
    "Microsoft YaHei",
    "PingFang SC",
    "Hiragino Sans",
    "Yu Gothic",
    "Malgun Gothic",
    "Apple SD Gothic Neo",
    "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei",
    "Noto Sans Arabic",
    "Noto Sans Hebrew",
    "Noto Sans Devanagari",
    "Noto Sans Thai",
    "Segoe UI",
    "Arial Unicode MS",
    "Noto Emoji",
    "Segoe UI Symbol",
    "Symbola",
    "FreeSans",
)
"""Tried in this order, before all other installed fonts."""
_INSTALL = (
    (("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO"), "Noto Sans CJK"),
    (("ARABIC",), "Noto Sans Arabic"),
    (("HEBREW",), "Noto Sans Hebrew"),
    (("DEVANAGARI",), "Noto Sans Devanagari"),
    (("THAI",), "Noto Sans Thai"),
    (("BENGALI",), "Noto Sans Bengali"),
    (("TAMIL",), "Noto Sans Tamil"),
)
_MOST_SHOWN = 12
_SELECTORS = frozenset([" ", *map(chr, range(0xFE00, 0xFE10))])
"""Characters without a glyph: the space, and variation selectors."""


def families(letters: frozenset[str]) -> list[str]:
    """Return the fonts to draw ``letters`` with: matplotlib's own, then as few as possible for the rest."""
    return [OWN, *_fallbacks(letters)[0]]


def missing(letters: frozenset[str]) -> str:
    """Return those of ``letters`` that no installed font has, sorted."""
    return _fallbacks(letters)[1]


def missing_note(letters: frozenset[str]) -> str:
    """Return a note on which letters are drawn as boxes and what to install; empty if there are none."""
    lacking = missing(letters)
    if not lacking:
        return ""
    shown = " ".join(lacking[:_MOST_SHOWN]) + (f" ... ({len(lacking)} in all)" if len(lacking) > _MOST_SHOWN else "")
    wanted = " and ".join(dict.fromkeys(map(_wanted, lacking)))
    return (
        f"no font that is installed here has {shown}: the figures show boxes in their place. Install {wanted} and analyze "
        "again; tables and reports are complete"
    )


def letters_of(*values: Any) -> frozenset[str]:
    """Return the letters of all texts within values, including keys, without characters that have no glyph."""
    letters: set[str] = set()
    waiting = list(values)
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            letters.update(value)
        elif isinstance(value, Mapping):
            waiting += [*value.keys(), *value.values()]
        elif is_dataclass(value) and not isinstance(value, type):
            waiting += vars(value).values()
        elif isinstance(value, Iterable) and not isinstance(value, bytes):
            waiting += list(value) if _holds_text(value) else []
    return frozenset(letter for letter in letters if letter.isprintable() and letter not in _SELECTORS)


def _holds_text(value: Iterable[Any]) -> bool:
    """Whether a sequence can contain text; sequences of numbers are skipped."""
    return not (isinstance(value, list | tuple) and value and isinstance(value[0], int | float))


@cache
def _fallbacks(letters: frozenset[str]) -> tuple[tuple[str, ...], str]:
    """Return the fonts for the letters that matplotlib's own lacks, and the letters that no font has."""
    wanted = set(letters) - _has(font_manager.findfont(OWN))
    chosen: list[str] = []
    for name, path in _installed() if wanted else ():
        if own := wanted & _has(path):
            font_manager.fontManager.addfont(path)
            chosen.append(name)
            wanted -= own
        if not wanted:
            break
    return tuple(chosen), "".join(sorted(wanted))


@cache
def _installed() -> tuple[tuple[str, str], ...]:
    """Return name and file of the installed fonts, preferred ones first; matplotlib's cached list may be outdated."""
    installed: dict[str, str] = {}
    for path in sorted(font_manager.findSystemFonts()):
        try:
            font = FT2Font(path)
        except (OSError, RuntimeError, ValueError):
            continue
        # Bitmap fonts, such as coloured emoji, cannot be scaled.
        if font.scalable and font.style_name in ("Regular", "Book", "Normal", "Roman", "Medium", ""):
            installed.setdefault(font.family_name, path)
    order = {name: place for place, name in enumerate(PREFERRED)}
    return tuple(sorted(installed.items(), key=lambda item: (order.get(item[0], len(order)), item[0])))


@cache
def _has(path: str) -> frozenset[str]:
    try:
        return frozenset(map(chr, FT2Font(path).get_charmap()))
    except (OSError, RuntimeError, ValueError):
        return frozenset()


def _wanted(letter: str) -> str:
    """Return the name of a font that has ``letter``."""
    name = unicodedata.name(letter, "")
    for words, font in _INSTALL:
        if name.startswith(words):
            return font
    return "Noto Emoji" if unicodedata.category(letter) == "So" else "a font of the Noto family that has them"
