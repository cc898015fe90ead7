"""What a check says: one thing that is wrong or odd, where, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from domain_masks.records.counts import counted

__all__ = ["SEVERITIES", "Example", "Finding", "Severity", "by_path", "counted"]

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


@dataclass(frozen=True, slots=True)
class Example:
    """One place where something was found: a path, or several that belong together, and what there is to say."""

    paths: tuple[str, ...]
    detail: str = ""


@dataclass(frozen=True)
class Finding:
    """Something that is wrong or odd about a dataset.

    - ``code``: its name for machines
    - ``severity``: "error": training would refuse, or the accuracies would not mean what they say; "warning": training
      goes, but the result may suffer; "note": good to know
    - ``what``, ``advice``: one sentence each, what was found and what to do
    - ``examples``: every place, not only those that are shown
    """

    code: str
    severity: Severity
    what: str
    advice: str
    examples: tuple[Example, ...] = ()


def by_path(paths: Iterable[str]) -> tuple[Example, ...]:
    """Return an example for every path, sorted."""
    return tuple(Example((path,)) for path in sorted(paths))
