"""Two domains as one key: "first|second", whatever the domains are called."""

from __future__ import annotations

import re
from collections.abc import Iterable

_ESCAPED = re.compile(r"([\\|])")
_PARTS = re.compile(r"((?:[^\\|]|\\.)*)\|((?:[^\\|]|\\.)*)", re.DOTALL)


def pair_key(first: str, second: str) -> str:
    r"""Return the key of a pair of domains, which no other pair has: ``\`` and ``|`` within a name have a ``\`` before them."""
    return "|".join(_ESCAPED.sub(r"\\\1", name) for name in (first, second))


def pair_of(key: str, domains: Iterable[str] = ()) -> tuple[str, str]:
    r"""Return the two domains of a key.

    ``domains`` are the names of all domains, by which keys of older versions, without ``\``, are recognised. A key that is
    not a pair is returned as the first name.
    """
    known = list(domains)
    for join in (pair_key, _unescaped):
        for first in known:
            for second in known:
                if first != second and join(first, second) == key:
                    return first, second
    match = _PARTS.fullmatch(key)
    if match is None:
        return key, ""
    first, second = (re.sub(r"\\(.)", r"\1", part, flags=re.DOTALL) for part in match.groups())
    return first, second


def pair_title(key: str, domains: Iterable[str] = ()) -> str:
    """Return a pair of domains for display: "first – second"."""
    return " – ".join(name for name in pair_of(key, domains) if name)


def _unescaped(first: str, second: str) -> str:
    return f"{first}|{second}"
