"""Which of the paper's findings the runs reproduce."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from domain_masks.records.ensemble_names import KNOWN_DOMAIN
from domain_masks.records.results import IN_DOMAIN, OUT_OF_DOMAIN, OVERALL, WITH_KNOWN_DOMAIN
from domain_masks.report.document import Highlight
from domain_masks.report.runs.accuracies import overall, overall_differences
from domain_masks.report.runs.differences import IN_PART, NOT_REPRODUCED, REPRODUCED, UNCLEAR, AccuracyDifference, gap
from domain_masks.report.runs.groups import Group
from domain_masks.report.runs.lines import Line
from domain_masks.report.runs.paper_numbers import BACKBONE_TITLES, accuracy_numbers
from domain_masks.report.tables.sweep_findings import sweep_findings
from domain_masks.report.tables.sweep_tables import Sweep
from domain_masks.report.tables.table import (
    ORACLE_NOTE,
    Column,
    Mark,
    Table,
    is_missing,
    rows_of,
    signed,
    text_cell,
    typed,
)

FINDINGS = {
    "group": "str",
    "finding": "str",
    "paper": "str",
    "here": "str",
    "value": "Float64",
    "result": "str",
    "target_labels_used": "boolean",
}
"""Columns of :func:`findings`; ``value`` is the number behind "here" (accuracies as fractions)."""


UNJUDGED = "oracle: not judged"


def findings(group: Group, sweeps: Sequence[tuple[Sweep, pd.DataFrame]]) -> pd.DataFrame:
    """Return a row per finding of the paper that these runs can test.

    - ``sweeps``: each series with its :func:`.sweep_tables.sweep_frame`
    """
    rows = [{"group": group.name, "target_labels_used": False, **row} for row in _findings(group, sweeps)]
    return typed(rows, FINDINGS)


def findings_table(group: Group, frame: pd.DataFrame) -> Table | None:
    """Return :func:`findings` as a table; None if it is empty."""
    if frame.empty:
        return None
    rows = [
        [
            text_cell(row["finding"]),
            text_cell(row["paper"], mark="paper"),
            text_cell(row["here"], *(("oracle", "oracle") if row["target_labels_used"] else ())),
            text_cell(row["result"], mark=_mark(row)),
        ]
        for row in rows_of(frame)
    ]
    columns = [Column(title, is_number=False) for title in ("finding", "paper", "here", "result")]
    note = (
        "In brackets: 95 % interval over test images, resampled with the predictions of both sides. Differences use the "
        "common seeds of both sides, which can be fewer than in the tables. Not clear: the interval contains 0, or the "
        "deviation over seeds exceeds the difference. In part: not on most held-out domains, or not in all cases. The paper's "
        "numbers are shown only for runs with its protocol."
    )
    notes = [note, *([ORACLE_NOTE] if frame["target_labels_used"].any() else [])]
    return Table(f"{group.name}-findings", "Reproduction of the paper's findings", columns, rows, frame, notes)


def _mark(row: Mapping[str, Any]) -> Mark:
    if row["target_labels_used"]:
        return "oracle"
    return "best" if row["result"] == REPRODUCED else ""


def _findings(group: Group, sweeps: Sequence[tuple[Sweep, pd.DataFrame]]) -> Iterator[dict[str, Any]]:
    dmg = group.line("dmg")
    if dmg is not None:
        aggregate = group.line("aggregate", dmg.optimizer)
        rows: list[dict[str, Any]] = []
        if aggregate is not None:
            rows += _gap_row(
                "Out of domain, DMG is better than Aggregate",
                gap(group, dmg, aggregate, (OUT_OF_DOMAIN, OUT_OF_DOMAIN)),
                _paper_gaps(group, (dmg, aggregate), ("dmg", OUT_OF_DOMAIN), ("aggregate", OUT_OF_DOMAIN)),
            )
        rows += _gap_row(
            "In domain, the known domain's own mask is better than the ensemble",
            gap(group, dmg, dmg, (WITH_KNOWN_DOMAIN, IN_DOMAIN)),
            _paper_gaps(group, (dmg,), ("dmg", WITH_KNOWN_DOMAIN), ("dmg", IN_DOMAIN)),
        )
        rows += _own_mask(group, dmg)
        is_oracle = dmg.oracle or (aggregate is not None and aggregate.oracle)
        for row in rows:
            yield row | ({"target_labels_used": True, "result": UNJUDGED} if is_oracle else {})
    yield from sweep_findings(sweeps)


def _gap_row(finding: str, difference: AccuracyDifference | None, paper: str) -> Iterator[dict[str, Any]]:
    if difference is not None:
        yield {
            "finding": finding,
            "paper": paper,
            "here": str(difference),
            "value": difference.difference,
            "result": difference.result,
        }


def _paper_gaps(group: Group, lines: Sequence[Line], first: tuple[str, str], second: tuple[str, str]) -> str:
    """Return the paper's overall differences on a dataset as text; with numbers only if ``lines`` have its protocol."""
    by_dataset = {dataset: dict(_overall_gaps(dataset, first, second)) for dataset in (group.dataset, "domainnet")}
    dataset = group.dataset if by_dataset[group.dataset] else "domainnet"
    title = "PACS" if dataset == "pacs" else "DomainNet"
    gaps = by_dataset[dataset]
    if dataset == group.dataset and not any(overall_differences(line, group.main_targets) for line in lines):
        return ", ".join(f"{signed(100 * value)} ({name})" for name, value in gaps.items()) + f", on {title}"
    higher = [name for name, value in gaps.items() if value > 0]
    others = [name for name in gaps if name not in higher]
    return f"on {title} with {', '.join(higher)}" + (f", not with {', '.join(others)}" if others else "")


def _overall_gaps(dataset: str, first: tuple[str, str], second: tuple[str, str]) -> Iterator[tuple[str, float]]:
    """Yield the backbone and the difference between two pairs of method and measure, prediction ensemble."""
    for backbone, title in BACKBONE_TITLES.items():
        values: dict[tuple[str | None, str], float] = {}
        for number in accuracy_numbers():
            key = (number.method, number.measure)
            fits = number.dataset == dataset and number.backbone == backbone and number.target == OVERALL
            if fits and number.optimizer == "adam" and key in (first, second) and number.ensemble == "predictions":
                values.setdefault(key, number.accuracy)
        if len(values) == 2:
            yield title, values[first] - values[second]


def _own_mask(group: Group, line: Line) -> Iterator[dict[str, Any]]:
    """Compare the own mask of every source domain of every run with the other masks (Table 4)."""
    best = tied = total = 0
    for record in line.records:
        correctness = group.of(record).by_measure.get(IN_DOMAIN)
        if correctness is None:
            continue
        for domain in correctness.ids:
            scores = {source: correctness.accuracy(KNOWN_DOMAIN + source, domain) for source in record.results.sources}
            known = {source: value for source, value in scores.items() if value is not None}
            if domain in known and len(known) > 1:
                total += 1
                others = max(value for source, value in known.items() if source != domain)
                best += known[domain] > others
                tied += known[domain] == others
    if total:
        yield {
            "finding": "Each mask is the best, or as good as the best, on its own domain",
            "paper": "on all 10 source domains of Table 4 (AlexNet, DomainNet)",
            "here": f"the best in {best} and tied with the best in {tied} of {total} cases (runs × source domains)",
            "value": (best + tied) / total,
            "result": _of_cases(best, tied, total),
        }


def _of_cases(best: int, tied: int, total: int) -> str:
    """Return the result; more ties than wins are not clear, since identical masks would always tie."""
    if tied > best:
        return UNCLEAR
    return REPRODUCED if best + tied == total else IN_PART if best > total / 2 else NOT_REPRODUCED


def headline(group: Group, frame: pd.DataFrame) -> list[Highlight]:
    """Return up to three numbers for the top of the page, without settings between which the rule could not choose."""
    highlights = []
    rows = overall(frame)
    fair = rows[~rows["target_labels_used"] & rows["line"].isin([line.label for line in group.decided])]
    if not fair.empty:
        best = max(rows_of(fair), key=lambda row: float(row["accuracy"]))
        rank = f": the highest of {len(fair)}" if len(fair) > 1 else ""
        sure = "" if is_missing(best["low"]) else f"95 % interval {100 * best['low']:.1f} to {100 * best['high']:.1f}"
        highlights.append(Highlight(f"{100 * best['accuracy']:.2f} %", f"{best['line']}, out of domain{rank}", sure))
    dmg = group.line("dmg")
    if dmg is None:
        return highlights
    aggregate = group.line("aggregate", dmg.optimizer)
    gaps = [] if aggregate is None else [("DMG − Aggregate out of domain", aggregate, (OUT_OF_DOMAIN, OUT_OF_DOMAIN))]
    gaps.append(("known domain − ensemble in domain (DMG)", dmg, (WITH_KNOWN_DOMAIN, IN_DOMAIN)))
    for title, other, measures in gaps:
        difference = gap(group, dmg, other, measures)
        if difference is not None:
            number, _, sure = str(difference).partition(" points ")
            sure = f"95 % interval {sure}" if difference.bounds is not None else sure
            highlights.append(Highlight(number, f"points, {title}", sure, dmg.oracle or other.oracle))
    return highlights
