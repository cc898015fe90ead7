"""The report of a check: text for people, JSON or CSV for programs."""

from __future__ import annotations

import csv
import io
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from domain_masks.data.checking.occurrences import Finding, Occurrence
from domain_masks.data.checking.rules import SEVERITIES
from domain_masks.errors import InputError
from domain_masks.records.counts import counted
from domain_masks.records.files import printable, write_json, write_whole
from domain_masks.records.spreadsheet import cell, path_cell

SCHEMA = 1
_SHOWN = 5
_SHOWN_PATHS = 4
_MOST_ROWS = 40
_MOST_COLUMNS = 12
_WIDTH = 110


@dataclass(frozen=True)
class CheckReport:
    """The outcome of a check.

    - ``counts``: images per class (rows) and domain (columns)
    - ``findings``: errors first
    """

    name: str
    source: str
    counts: pd.DataFrame
    findings: tuple[Finding, ...]

    @property
    def has_errors(self) -> bool:
        """Whether any finding is an error."""
        return any(finding.severity == "error" for finding in self.findings)

    def text(self, everything: bool = False) -> str:
        """Return the report for people; ``everything`` shows all examples and a whole table."""
        lines = [self._headline(), *self._table(everything)]
        for finding in self.findings:
            lines += ["", *_finding_lines(finding, everything)]
        # Last, so that a terminal still shows it after a long report.
        lines += ["", self._summary()]
        return printable("\n".join(lines))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        counts = {
            printable(str(domain)): {printable(str(name)): int(count) for name, count in column.items()}
            for domain, column in self.counts.items()
        }
        return {
            "schema": SCHEMA,
            "dataset": self.name,
            "source": self.source,
            "images": int(self.counts.to_numpy().sum()),
            "counts": counts,
            "findings": [
                {
                    "code": finding.code,
                    "severity": finding.severity,
                    "what": printable(finding.what),
                    "advice": finding.advice,
                    "count": len(finding.occurrences),
                    "examples": [_occurrence_dict(place) for place in finding.occurrences],
                }
                for finding in self.findings
            ],
        }

    def to_csv(self) -> str:
        """Return CSV text with a row per path: severity, code, number of the example, path, detail."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["severity", "code", "example", "path", "detail"])
        for finding in self.findings:
            for number, place in enumerate(finding.occurrences or (Occurrence(("",), finding.what),), start=1):
                for path in place.paths:
                    cells = path_cell(printable(path)), cell(printable(place.detail))
                    writer.writerow([finding.severity, finding.code, number, *cells])
        return text.getvalue()

    def write(self, path: Path) -> None:
        """Write the report as JSON or CSV, by the extension.

        Raises InputError for another extension, RunFolderError where it cannot be written.
        """
        check_extension(path)
        if path.suffix.lower() == ".json":
            write_json(path, self.to_dict())
        else:
            write_whole(path, self.to_csv())

    def _headline(self) -> str:
        classes, domains = self.counts.shape
        total = int(self.counts.to_numpy().sum())
        amounts = f"{counted(total, 'image')}, {counted(domains, 'domain')}, {counted(classes, 'class', 'classes')}"
        return f"{self.name}: {amounts}\n{self.source}"

    def _table(self, everything: bool) -> Iterator[str]:
        table = self.counts
        if table.empty:
            return
        yield ""
        if not everything and len(table) > _MOST_ROWS:
            summary = pd.DataFrame(
                {
                    "images": table.sum(),
                    "classes": (table > 0).sum(),
                    "fewest in a class": table.min(),
                    "median": table.median().astype(int),
                    "most": table.max(),
                }
            )
            yield from _plain_table(summary)
            yield "(--all shows every class)"
            return
        whole = table.copy()
        whole["all"] = whole.sum(axis=1)
        whole.loc["all"] = whole.sum(axis=0)
        if len(whole.columns) > _MOST_COLUMNS and not everything:
            yield from _plain_table(whole[["all"]])
            yield "(--all shows every domain)"
        else:
            yield from _plain_table(whole)

    def _summary(self) -> str:
        if not self.findings:
            return "no problems found"
        counts = {name: sum(finding.severity == name for finding in self.findings) for name in SEVERITIES}
        return ", ".join(counted(count, name) for name, count in counts.items() if count)


def check_extension(path: Path) -> None:
    """Raise InputError if a report cannot be written under this name."""
    if path.suffix.lower() not in (".json", ".csv"):
        raise InputError(f"out: expected a file name that ends in .json or .csv, got {str(path)!r}")


def _plain_table(table: pd.DataFrame) -> list[str]:
    table = table.rename_axis(index=None, columns=None)
    # Chinese, Japanese and Korean characters take two columns.
    with pd.option_context("display.unicode.east_asian_width", True):
        return [line.rstrip() for line in table.to_string().splitlines()]


def _finding_lines(finding: Finding, everything: bool) -> Iterator[str]:
    label = f"{finding.severity.upper():<9}"
    yield from textwrap.wrap(
        f"{finding.what}.", _WIDTH, initial_indent=label, subsequent_indent=" " * 9, break_on_hyphens=False
    )
    shown = finding.occurrences if everything else finding.occurrences[:_SHOWN]
    for place in shown:
        yield f"           {_occurrence_text(place, everything)}"
    if len(shown) < len(finding.occurrences):
        yield f"           ... and {len(finding.occurrences) - len(shown):,} more (--all)"
    yield from textwrap.wrap(finding.advice, _WIDTH, initial_indent=" " * 9, subsequent_indent=" " * 9)


def _occurrence_text(place: Occurrence, everything: bool) -> str:
    paths = place.paths if everything else place.paths[:_SHOWN_PATHS]
    more = f" = ... {len(place.paths) - len(paths)} more" if len(paths) < len(place.paths) else ""
    return " = ".join(paths) + more + (f" ({place.detail})" if place.detail else "")


def _occurrence_dict(place: Occurrence) -> dict[str, Any]:
    plain: dict[str, Any] = {"paths": [printable(path) for path in place.paths]}
    return {**plain, "detail": printable(place.detail)} if place.detail else plain
