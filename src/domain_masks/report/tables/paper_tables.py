"""The paper's tables with the user's comparable numbers, and the differences of protocol of the others."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from domain_masks.records.files import printable
from domain_masks.records.results import OUT_OF_DOMAIN, OVERALL
from domain_masks.report.document import Block, Paragraph, Section
from domain_masks.report.runs.accuracies import has_printed, overall_differences, target_differences
from domain_masks.report.runs.groups import Group
from domain_masks.report.runs.lines import Line
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
    "The paper quotes the numbers of methods other than DMG, Multi-Headed and Aggregate from their own papers, with other "
    "splits, training, selection and code: a difference from them can have several causes."
)


def comparison(group: Group) -> list[Block]:
    """Return which lines of a group are comparable with the paper's numbers, and a table of the differences."""
    lines = [*group.lines, *group.published]
    by_verdict: dict[tuple[str, str], list[Line]] = {}
    for line in lines:
        by_verdict.setdefault(_verdict(line, group.main_targets), []).append(line)
    blocks: list[Block] = [
        Paragraph(f"{_labels(same)}: {verdict}", tone=tone) for (verdict, tone), same in by_verdict.items()
    ]
    if (table := _differences_table(group, lines)) is not None:
        blocks.append(table)
    if group.dataset == "pacs":
        blocks.append(
            Paragraph("On PACS the paper reports only out-of-domain accuracy: in-domain numbers cannot be compared.")
        )
    return blocks


def _verdict(line: Line, targets: Sequence[str]) -> tuple[str, str]:
    """Return in a sentence whether a line is comparable with the paper's numbers, and the tone of the paragraph."""
    if not overall_differences(line, targets):
        if not has_printed(line, OVERALL):
            return "comparable, but the paper has no such number.", ""
        if line.method in QUOTED:
            return f"dataset and backbone are the paper's. {_QUOTED_NOTE}", ""
        return "comparable with the paper's numbers: dataset, backbone and protocol are the same.", ""
    single = [
        target
        for target in targets
        if line.by_target.get(target) and not target_differences(line, target) and has_printed(line, target)
    ]
    if single:
        return (
            f"comparable with the paper's numbers on single held-out domains ({', '.join(single)}), not overall.",
            "note",
        )
    return "not comparable with the paper's numbers.", "note"


def _labels(lines: Sequence[Line]) -> str:
    return ", ".join(line.label for line in lines)


def _differences_table(group: Group, lines: Sequence[Line]) -> Table | None:
    """Return a row per difference from the paper's protocol, with the lines that have it; None without differences."""
    by_difference: dict[Difference, list[Line]] = {}
    for line in lines:
        for difference in overall_differences(line, group.main_targets):
            by_difference.setdefault(difference, []).append(line)
    if not by_difference:
        return None
    settings = list(dict.fromkeys(difference.setting for difference in by_difference))
    differences = sorted(by_difference, key=lambda difference: settings.index(difference.setting))
    rows = []
    for difference in differences:
        same = by_difference[difference]
        methods = "all" if len(same) == len(lines) > 1 else _labels(same)
        rows.append(
            [
                text_cell(difference.setting),
                text_cell(difference.paper, mark="paper"),
                text_cell(difference.here),
                text_cell(methods),
            ]
        )
    frame = pd.DataFrame(
        [
            {"setting": item.setting, "paper": item.paper, "here": printable(item.here), "method": line.label}
            for item in differences
            for line in by_difference[item]
        ]
    )
    columns = [Column(title, is_number=False) for title in ("setting", "paper", "here", "methods")]
    return Table(f"{group.name}-differences", "Differences from the paper's protocol", columns, rows, frame)


def published_section(groups: Sequence[Group], frames: Sequence[pd.DataFrame]) -> Section | None:
    """Return the paper's tables on the datasets of these runs; None if the paper has no numbers on them."""
    datasets = {group.dataset for group in groups}
    numbers = [number for number in accuracy_numbers() if number.dataset in datasets]
    if not numbers:
        return None
    own = pd.concat(list(frames)) if frames else pd.DataFrame()
    blocks: list[Block] = [
        Paragraph(
            "As printed, in percent. For runs with the paper's dataset, backbone and protocol, their number and the difference "
            "are listed below the paper's row; overall only if every domain was held out in turn."
        )
    ]
    for table in sorted({number.table for number in numbers}):
        of_table = [number for number in numbers if number.table == table]
        for measure in dict.fromkeys("out_of_domain" if n.measure == OUT_OF_DOMAIN else "in_domain" for n in of_table):
            chosen = [n for n in of_table if (n.measure == OUT_OF_DOMAIN) == (measure == "out_of_domain")]
            blocks.append(_paper_table(table, measure, chosen, own))
    if "pacs" in datasets:
        blocks.append(Paragraph(f"Misprint: {MISPRINT}", tone="note"))
    return Section("The paper's tables", "published", blocks, folded=True)


def _paper_table(table: int, measure: str, numbers: Sequence[PaperNumber], own: pd.DataFrame) -> Table:
    targets = list(dict.fromkeys(number.target for number in numbers))
    rows: list[list[Cell]] = []
    for key in dict.fromkeys((number.backbone, number.shown) for number in numbers):
        printed = {number.target: number for number in numbers if (number.backbone, number.shown) == key}
        star = "*" if key == ("resnet18", "Aggregate (reported in [29])") else ""
        cells = [
            percent(printed[target].accuracy if target in printed else None, mark="paper")
            if target != OVERALL or not star
            else Cell(f"{100 * printed[target].accuracy:.2f}{star}", printed[target].accuracy, mark="paper")
            for target in targets
        ]
        rows.append(
            [text_cell(BACKBONE_TITLES.get(key[0], key[0])), text_cell(f"{key[1]}{star}", mark="paper"), *cells]
        )
        measured = {target: _own(own, printed[target]) for target in targets if target in printed}
        if any(value is not None for value in measured.values()):
            rows.append([text_cell(""), text_cell("here"), *(percent(measured.get(target)) for target in targets)])
            differences = [_difference(measured.get(target), printed.get(target)) for target in targets]
            rows.append([text_cell(""), text_cell("here − paper"), *differences])
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
    scope = "in domain" if measure == "in_domain" else "out of domain"
    columns = [Column("backbone", is_number=False), Column("method", is_number=False), *map(Column, targets)]
    notes = (
        [f"* {MISPRINT}"] if any("reported in [29]" in n.shown and n.backbone == "resnet18" for n in numbers) else []
    )
    caption = CAPTIONS[table] + (f", {scope}" if table == 5 else "")
    if any(number.optimizer is None and _own(own, number) is not None for number in numbers):
        notes.append(_QUOTED_NOTE)
    name = f"paper-table-{table}" + (f"-{measure.replace('_', '-')}" if table == 5 else "")
    return Table(name, f"The paper's Table {table}: {caption}", columns, rows, frame, notes, folded=True)


def _own(own: pd.DataFrame, number: PaperNumber) -> float | None:
    """Return the user's number for a printed one, or None if there is no comparable one."""
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


def _difference(own: float | None, number: PaperNumber | None) -> Cell:
    return nothing() if own is None or number is None else points(own - number.accuracy)
