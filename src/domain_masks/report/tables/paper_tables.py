"""The paper's own tables, with one's own numbers where they are comparable, and in words why elsewhere not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd

from domain_masks.records.results import OUT_OF_DOMAIN, OVERALL
from domain_masks.report.document import Block, Paragraph, Section
from domain_masks.report.runs.accuracies import has_printed, overall_differences, target_differences
from domain_masks.report.runs.groups import Group, Line
from domain_masks.report.runs.paper_numbers import (
    BACKBONE_TITLES,
    CAPTIONS,
    MISPRINT,
    PaperNumber,
    accuracy_numbers,
)
from domain_masks.report.runs.paper_protocol import Difference
from domain_masks.report.runs.paper_settings import QUOTED
from domain_masks.report.tables.table import (
    Cell,
    Column,
    Table,
    nothing,
    percent,
    points,
    rows_of,
    text_cell,
)

_QUOTED_NOTE = (
    "Numbers of other methods than DMG, Multi-Headed and Aggregate are quoted by the paper from the methods' own papers, with "
    "other splits, training, selection and code: a difference from them has more than one cause."
)


def comparison(group: Group) -> list[Block]:
    """Return which numbers of a group are comparable with the paper's, and what differs for the others."""
    blocks: list[Block] = []
    targets = group.main_targets
    by_difference: dict[tuple[str, ...], list[Line]] = {}
    lines = [*group.lines, *group.published]
    for line in lines:
        by_difference.setdefault(tuple(map(str, overall_differences(line, targets))), []).append(line)
    for alike in by_difference.values():
        found = overall_differences(alike[0], targets)
        unknown = [line for line in alike if not found and not has_printed(line, OVERALL)]
        beside = [line for line in alike if line not in unknown]
        if unknown:
            blocks.append(Paragraph(f"{_labels(unknown)}: comparable, but the paper has no such number."))
        if beside and not found:
            trained = [line for line in beside if line.method not in QUOTED]
            if trained:
                blocks.append(
                    Paragraph(
                        f"{_labels(trained)}: comparable with the paper's numbers: dataset, backbone and protocol are the same."
                    )
                )
            if quoted := [line for line in beside if line.method in QUOTED]:
                blocks.append(Paragraph(f"{_labels(quoted)}: dataset and backbone are the paper's. {_QUOTED_NOTE}"))
        elif found:
            blocks += _unlike(alike, found, targets)
    if group.dataset == "pacs":
        blocks.append(
            Paragraph(
                "On PACS the paper reports out-of-domain accuracy alone: in-domain numbers have nothing to be compared with."
            )
        )
    return blocks


def _unlike(lines: Sequence[Line], found: Sequence[Difference], targets: Sequence[str]) -> Iterator[Block]:
    """Yield what keeps the paper's overall away from lines, and beside which held-out domains its numbers stand yet."""
    merged = _merged(found)
    beside: dict[tuple[str, ...], list[Line]] = {}
    for line in lines:
        alike = [target for target in targets if line.by_target.get(target) and not target_differences(line, target)]
        beside.setdefault(tuple(target for target in alike if has_printed(line, target)), []).append(line)
    for held_out, some in beside.items():
        if held_out:
            text = (
                f"{_labels(some)}: comparable with the paper's numbers on single held-out domains ({', '.join(held_out)}), "
                "not overall. What differs:"
            )
        else:
            text = f"{_labels(some)}: not comparable with the paper's numbers. What differs:"
        yield Paragraph(text, merged, tone="note")


def _labels(lines: Sequence[Line]) -> str:
    return ", ".join(line.label for line in lines)


def _merged(found: Sequence[Difference]) -> list[str]:
    """Return a line per setting, with all values that runs had in place of the paper's."""
    by_setting: dict[str, list[Difference]] = {}
    for one in found:
        by_setting.setdefault(one.setting, []).append(one)
    return [
        f"{name}: {' or '.join(dict.fromkeys(one.here for one in several))} (paper: {several[0].paper})"
        for name, several in by_setting.items()
    ]


def published_section(groups: Sequence[Group], frames: Sequence[pd.DataFrame]) -> Section | None:
    """Return the paper's tables on the datasets of these runs; None where the paper has no numbers on any of them."""
    datasets = {group.dataset for group in groups}
    numbers = [number for number in accuracy_numbers() if number.dataset in datasets]
    if not numbers:
        return None
    own = pd.concat(list(frames)) if frames else pd.DataFrame()
    blocks: list[Block] = [
        Paragraph(
            "As printed, in percent. Where a run has the paper's dataset, backbone and protocol, its number and the "
            "difference follow below the paper's row, of the overall only where every domain was held out in turn; "
            "everywhere else the paper's number stands alone."
        )
    ]
    for table in sorted({number.table for number in numbers}):
        mine = [number for number in numbers if number.table == table]
        for measure in dict.fromkeys("out_of_domain" if n.measure == OUT_OF_DOMAIN else "in_domain" for n in mine):
            chosen = [n for n in mine if (n.measure == OUT_OF_DOMAIN) == (measure == "out_of_domain")]
            blocks.append(_paper_table(table, measure, chosen, own))
    if "pacs" in datasets:
        blocks.append(Paragraph(f"A misprint: {MISPRINT}", tone="note"))
    return Section("The paper's tables", "published", blocks, folded=True)


def _paper_table(table: int, measure: str, numbers: Sequence[PaperNumber], own: pd.DataFrame) -> Table:
    targets = list(dict.fromkeys(number.target for number in numbers))
    rows: list[list[Cell]] = []
    for key in dict.fromkeys((number.backbone, number.shown) for number in numbers):
        mine = {number.target: number for number in numbers if (number.backbone, number.shown) == key}
        star = "*" if key == ("resnet18", "Aggregate (reported in [29])") else ""
        cells = [
            percent(mine[target].accuracy if target in mine else None, mark="paper")
            if target != OVERALL or not star
            else Cell(f"{100 * mine[target].accuracy:.2f}{star}", mine[target].accuracy, mark="paper")
            for target in targets
        ]
        rows.append(
            [text_cell(BACKBONE_TITLES.get(key[0], key[0])), text_cell(f"{key[1]}{star}", mark="paper"), *cells]
        )
        found = {target: _own(own, mine[target]) for target in targets if target in mine}
        if any(value is not None for value in found.values()):
            rows.append([text_cell(""), text_cell("here"), *(percent(found.get(target)) for target in targets)])
            gaps = [_gap(found.get(target), mine.get(target)) for target in targets]
            rows.append([text_cell(""), text_cell("here − paper"), *gaps])
    frame = pd.DataFrame(
        [
            {
                "table": number.table,
                "dataset": number.dataset,
                "backbone": number.backbone,
                "method": number.shown,
                "held_out": number.target,
                "paper_accuracy": number.accuracy,
                "accuracy": _own(own, number),
            }
            for number in numbers
        ]
    )
    what = "in domain" if measure == "in_domain" else "out of domain"
    columns = [Column("backbone", is_number=False), Column("method", is_number=False), *map(Column, targets)]
    notes = (
        [f"* {MISPRINT}"] if any("reported in [29]" in n.shown and n.backbone == "resnet18" for n in numbers) else []
    )
    caption = CAPTIONS[table] + (f", {what}" if table == 5 else "")
    if any(number.optimizer is None and _own(own, number) is not None for number in numbers):
        notes.append(_QUOTED_NOTE)
    name = f"paper-table-{table}" + (f"-{measure.replace('_', '-')}" if table == 5 else "")
    return Table(name, f"The paper's Table {table}: {caption}", columns, rows, frame, notes, folded=True)


def _own(own: pd.DataFrame, number: PaperNumber) -> float | None:
    """Return one's own number for a printed one, where it was set beside it."""
    if own.empty or number.method is None:
        return None
    chosen = own[
        own["paper_accuracy"].notna()
        & (own["dataset"] == number.dataset)
        & (own["backbone"] == number.backbone)
        & (own["method"] == number.method)
        & ((own["optimizer"] == number.optimizer) | (number.optimizer is None))
        & (own["measure"] == number.measure)
        & (own["ensemble"] == number.ensemble)
        & (own["held_out"] == number.target)
    ]
    return next((float(row["accuracy"]) for row in rows_of(chosen)), None)


def _gap(own: float | None, number: PaperNumber | None) -> Cell:
    return nothing() if own is None or number is None else points(own - number.accuracy)
