"""What a check says: one thing that is wrong or odd, where, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from domain_masks.data.checking.rules import RULES, Severity
from domain_masks.records.counts import counted


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One place where something was found: a path, or several that belong together, and what there is to say."""

    paths: tuple[str, ...]
    detail: str = ""


@dataclass(frozen=True)
class Finding:
    """Something that is wrong or odd about a dataset.

    - ``code``: its name for machines
    - ``what``, ``advice``: one sentence each, what was found and what to do
    - ``occurrences``: every place, not only those that are shown
    """

    code: str
    severity: Severity
    what: str
    advice: str
    occurrences: tuple[Occurrence, ...] = ()


def finding(
    code: str, occurrences: Iterable[Occurrence | str] = (), severity: Severity | None = None, **words: Any
) -> Finding:
    """Return what the rule ``code`` says of ``occurrences``; paths alone are sorted. ``words`` fill in its sentences."""
    given = tuple(occurrences)
    paths = sorted(place for place in given if isinstance(place, str))
    places = (*(place for place in given if isinstance(place, Occurrence)), *(Occurrence((path,)) for path in paths))
    rule = RULES[code]
    one = len(places) == 1
    usual = {
        "count": counted(len(places), rule.noun, rule.plural),
        "are": "is" if one else "are",
        "their": "its" if one else "their",
    }
    what, advice = (text.format_map({**usual, **words}) for text in (rule.what, rule.advice))
    return Finding(code, severity or rule.severity, what, advice, places)


def findings(
    code: str, occurrences: Iterable[Occurrence | str], severity: Severity | None = None, **words: Any
) -> list[Finding]:
    """Return the finding of a rule, or nothing where it does not occur."""
    given = tuple(occurrences)
    return [finding(code, given, severity, **words)] if given else []
