"""Paired comparison of methods on the same images: exact McNemar tests with Holm's correction."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import combinations
from typing import Any

import pandas as pd

from domain_masks.evaluation.intervals import McNemar, holm
from domain_masks.records.collection import RunRecord
from domain_masks.records.ensemble_names import PREDICTION_ENSEMBLE
from domain_masks.records.results import OUT_OF_DOMAIN, OVERALL
from domain_masks.report.runs.correctness import paired, pooled
from domain_masks.report.runs.groups import Group
from domain_masks.report.runs.lines import Line
from domain_masks.report.tables.table import ORACLE_NOTE, Cell, Column, Table, p_text, points, rows_of, text_cell, typed

PAIRS = {
    "group": "str",
    "first": "str",
    "second": "str",
    "target_labels_used": "boolean",
    "seed": "Int64",
    "held_out": "str",
    "images": "Int64",
    "difference": "Float64",
    "first_only": "Int64",
    "second_only": "Int64",
    "p_value": "Float64",
    "p_corrected": "Float64",
}
"""Columns of :func:`pairs`; ``difference`` is the accuracy of the first minus the second over all images, in [-1, 1]."""


def pairs(group: Group) -> pd.DataFrame:
    """Return a row per two lines, seed and held-out domain, and one per seed over all held-out domains ("overall").

    Each row is an exact McNemar test on the same images (out of domain, prediction ensemble). Counts are summed over held-out
    domains, whose images differ, but not over seeds, which share their images. p values are corrected by Holm's method,
    separately over all domains and by domain. Settings between which the rule could not choose are not tested.
    """
    rows = [row for first, second in combinations(group.decided, 2) for row in _tests(group, first, second)]
    for overall in (True, False):
        family = [row for row in rows if (row["held_out"] == OVERALL) is overall]
        for row, value in zip(family, holm([row["p_value"] for row in family]), strict=True):
            row["p_corrected"] = value
    return typed(rows, PAIRS)


def significance(group: Group, frame: pd.DataFrame, by_domain: bool = False) -> Table | None:
    """Return the tests over all held-out domains, or by domain; None if there are none."""
    chosen = frame[(frame["held_out"] != OVERALL) if by_domain else (frame["held_out"] == OVERALL)]
    if chosen.empty:
        return None
    oracles = {line.label for line in group.lines if line.oracle}
    rows = [_shown(row, oracles, by_domain) for row in rows_of(chosen)]
    columns = [Column("first", is_number=False), Column("second", is_number=False), Column("seed")]
    columns += [Column("held out", is_number=False)] if by_domain else []
    columns += [Column("first − second"), Column("only first correct"), Column("only second correct")]
    columns += [Column("p"), Column("p, corrected")]
    note = (
        "Exact McNemar test on the same images, out of domain. First − second: difference in percentage points over all "
        f"images. p, corrected: by Holm's method over the {len(rows)} rows of this table."
    )
    more = (
        "One test per held-out domain."
        if by_domain
        else "Counts are summed over all held-out domains, so large domains weigh more than in “overall”, and the two can "
        "disagree. Seeds are tested separately, since they share the images."
    )
    return Table(
        f"{group.name}-significance{'-by-domain' if by_domain else ''}",
        "Paired tests between methods" + (", by held-out domain" if by_domain else ""),
        columns,
        rows,
        chosen.reset_index(drop=True),
        [note, more, *([ORACLE_NOTE] if chosen["target_labels_used"].any() else [])],
        folded=by_domain,
    )


def _tests(group: Group, first: Line, second: Line) -> Iterator[dict[str, Any]]:
    common = {"group": group.name, "first": first.label, "second": second.label}
    common_flags = {"target_labels_used": first.oracle or second.oracle}
    by_seed: dict[int, list[tuple[McNemar, int]]] = {}
    for target in group.main_targets:
        others = {record.results.seed: record for record in second.by_target.get(target, ())}
        for record in first.by_target.get(target, ()):
            other = others.get(record.results.seed)
            result = None if other is None else _test(group, record, other)
            if result is None:
                continue
            by_seed.setdefault(record.results.seed, []).append(result)
            yield common | common_flags | _counts(record.results.seed, target, *result)
    for seed, tests in sorted(by_seed.items()):
        if len(tests) == len(group.main_targets):
            total = pooled(test for test, _ in tests)
            yield common | common_flags | _counts(seed, OVERALL, total, sum(count for _, count in tests))


def _test(group: Group, first: RunRecord, second: RunRecord) -> tuple[McNemar, int] | None:
    a, b = (group.of(record).by_measure.get(OUT_OF_DOMAIN) for record in (first, second))
    if a is None or b is None:
        return None
    test = paired(a, b, (PREDICTION_ENSEMBLE, PREDICTION_ENSEMBLE))
    return None if test is None else (test, sum(map(len, a.ids.values())))


def _counts(seed: int, held_out: str, test: McNemar, images: int) -> dict[str, Any]:
    return {
        "seed": seed,
        "held_out": held_out,
        "images": images,
        "difference": (test.first_only - test.second_only) / images,
        "first_only": test.first_only,
        "second_only": test.second_only,
        "p_value": test.p_value,
    }


def _shown(row: dict[str, Any], oracles: Collection[str], by_domain: bool) -> list[Cell]:
    cells = [
        text_cell(row[side], *(("oracle", "oracle") if row[side] in oracles else ())) for side in ("first", "second")
    ]
    cells.append(Cell(str(row["seed"]), row["seed"]))
    cells += [text_cell(row["held_out"] or "–")] if by_domain else []
    difference = points(row["difference"], *(("oracle", "oracle") if row["target_labels_used"] else ()))
    cells += [difference, Cell(str(row["first_only"]), row["first_only"])]
    cells += [Cell(str(row["second_only"]), row["second_only"]), Cell(p_text(row["p_value"]), row["p_value"])]
    is_clear = row["p_corrected"] < 0.05 and not row["target_labels_used"]
    return [*cells, Cell(p_text(row["p_corrected"]), row["p_corrected"], mark="best" if is_clear else "")]
