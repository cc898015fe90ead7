"""Findings of a check: a problem, where it occurs, and advice."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from domain_masks.data.checking.rules import RULES, Severity
from domain_masks.records.counts import counted


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One occurrence of a finding: a path, or several that belong together, and a detail."""

    paths: tuple[str, ...]
    detail: str = ""


@dataclass(frozen=True)
class Finding:
    """An error or an oddity of a dataset.

    - ``code``: its name for programs
    - ``what``, ``advice``: one sentence each, the problem and the remedy
    - ``occurrences``: all of them, not only those that the text shows
    """

    code: str
    severity: Severity
    what: str
    advice: str
    occurrences: tuple[Occurrence, ...] = ()


def finding(
    code: str, occurrences: Iterable[Occurrence | str] = (), severity: Severity | None = None, **words: Any
) -> Finding:
    """Return the finding of the rule ``code`` about ``occurrences``; bare paths are sorted. ``words`` fill its sentences."""
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
    """Return the finding of a rule as a list, empty where there are no occurrences."""
    places = tuple(occurrences)
    return [finding(code, places, severity, **words)] if places else []
