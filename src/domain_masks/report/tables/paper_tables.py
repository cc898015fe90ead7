"""The paper's own tables, with one's own numbers where they may stand beside them, and in words why elsewhere not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from domain_masks.records.predictions import KNOWN_DOMAIN, PREDICTION_ENSEMBLE
from domain_masks.records.results import OVERALL
from domain_masks.report.document import Block, Paragraph, Section
from domain_masks.report.runs.accuracies import has_printed, overall_differences, target_differences
from domain_masks.report.runs.correctness import IN_DOMAIN, OUT_OF_DOMAIN
from domain_masks.report.runs.groups import Group, Line
from domain_masks.report.runs.naming import as_file_name
from domain_masks.report.runs.paper_numbers import (
    BACKBONE_TITLES,
    CAPTIONS,
    MISPRINT,
    MaskNumber,
    PaperNumber,
    accuracy_numbers,
    mask_numbers,
)
from domain_masks.report.runs.paper_protocol import Difference
from domain_masks.report.runs.paper_settings import QUOTED
from domain_masks.report.tables.table import (
    ORACLE_NOTE,
    Cell,
    Column,
    Table,
    is_missing,
    n_text,
    nothing,
    percent,
    points,
    rows_of,
    text_cell,
    typed,
)

_QUOTED_NOTE = (
    "Numbers of other methods than DMG, Multi-Headed and Aggregate are quoted by the paper from the methods' own papers, with "
    "other splits, training, selection and code: a difference from them has more than one cause."
)
MASK_TABLE = {
    "group": "str",
    "method": "str",
    "line": "str",
    "held_out": "str",
    "mask": "str",
    "domain": "str",
    "runs": "Int64",
    "images": "Int64",
    "accuracy": "Float64",
    "paper_accuracy": "Float64",
}
"""Columns of :func:`mask_by_domain_frame`."""


def comparison(group: Group) -> list[Block]:
    """Return which numbers of a group may stand beside the paper's, and what differs for the others."""
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
            blocks.append(Paragraph(f"{_labels(unknown)}: the protocol is the paper's, which has no such number."))
        if beside and not found:
            trained = [line for line in beside if line.method not in QUOTED]
            if trained:
                blocks.append(
                    Paragraph(
                        f"{_labels(trained)}: dataset, backbone and protocol are the paper's; its numbers stand beside "
                        "these."
                    )
                )
            if quoted := [line for line in beside if line.method in QUOTED]:
                blocks.append(Paragraph(f"{_labels(quoted)}: dataset and backbone are the paper's. {_QUOTED_NOTE}"))
        elif found:
            blocks += _unlike(alike, found, targets)
    if group.dataset == "pacs":
        blocks.append(
            Paragraph(
                "On PACS the paper reports out-of-domain accuracy alone: there is nothing to hold in-domain numbers against."
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
                f"{_labels(some)}: the paper's numbers stand beside single held-out domains ({', '.join(held_out)}), its "
                "overall beside none. What differs:"
            )
        else:
            text = f"{_labels(some)}: no number of the paper may stand beside these. What differs:"
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


def mask_by_domain_frame(group: Group, line: Line) -> pd.DataFrame:
    """Return Table 4: the accuracy of every single mask or head, and of the ensembles, on every domain, mean over seeds."""
    comparable = {target: not target_differences(line, target) for target in line.by_target}
    values: dict[tuple[str, str, str], list[float]] = {}
    counts: dict[tuple[str, str], set[int]] = {}
    for target, records in line.by_target.items():
        for record in records:
            for measure in (IN_DOMAIN, OUT_OF_DOMAIN):
                answers = group.of(record).by_measure.get(measure)
                for ensemble in answers.right if answers is not None else ():
                    for domain in answers.ids if answers is not None else ():
                        value = None if answers is None else answers.accuracy(ensemble, domain)
                        if answers is not None and value is not None:
                            values.setdefault((target, ensemble, domain), []).append(value)
                            counts.setdefault((target, domain), set()).add(len(answers.ids[domain]))
    rows = []
    for (target, ensemble, domain), found in values.items():
        is_the_papers = comparable[target] and line.method == "dmg"
        printed = _printed_mask(group, target, ensemble, domain) if is_the_papers else None
        rows.append(
            {
                "group": group.name,
                "method": line.method,
                "line": line.label,
                "held_out": target,
                "mask": ensemble,
                "domain": domain,
                "runs": len(found),
                "images": next(iter(mine)) if len(mine := counts[target, domain]) == 1 else None,
                "accuracy": sum(found) / len(found),
                "paper_accuracy": None if printed is None else printed.accuracy,
            }
        )
    return typed(rows, MASK_TABLE)


def mask_by_domain_tables(group: Group, line: Line) -> list[Table]:
    """Return Table 4 for each held-out domain of a line that has masks or heads of its own for each source."""
    frame = mask_by_domain_frame(group, line)
    singles = frame[frame["mask"].str.startswith(KNOWN_DOMAIN)] if len(frame) else frame
    tables = []
    for target in [name for name in group.main_targets if (singles["held_out"] == name).any()]:
        mine = frame[frame["held_out"] == target].reset_index(drop=True)
        held_out = [name for name in dict.fromkeys(mine["domain"]) if name in _names(line, target)]
        domains = [name for name in dict.fromkeys(mine["domain"]) if name not in held_out] + held_out
        masks = [name for name in dict.fromkeys(mine["mask"]) if name.startswith(KNOWN_DOMAIN)]
        masks += [name for name in dict.fromkeys(mine["mask"]) if not name.startswith(KNOWN_DOMAIN)]
        lookup = {(row["mask"], row["domain"]): row for row in rows_of(mine)}
        ranges = {
            domain: [row["accuracy"] for (_, name), row in lookup.items() if name == domain] for domain in domains
        }
        rows = [
            [
                _mask_name(mask, line.oracle),
                *(_mask_cell(lookup.get((mask, domain)), ranges[domain], line.oracle) for domain in domains),
            ]
            for mask in masks
        ]
        columns = [Column("mask", is_number=False)]
        images = {domain: row["images"] for (_, domain), row in lookup.items() if not is_missing(row["images"])}
        columns += [
            Column(f"{domain} (held out)" if domain in held_out else domain, detail=n_text(images.get(domain)))
            for domain in domains
        ]
        notes = [
            "Rows: which mask or head is used for every image; columns: whose images. Framed: a domain "
            "under its own. The tint runs from the lowest to the highest of a column."
        ]
        if mine["paper_accuracy"].notna().any():
            notes.append("Below each number: the paper's (Table 4).")
        if line.oracle:
            notes.append(ORACLE_NOTE)
        name = f"{group.name}-masks-by-domain-{as_file_name(line.label)}-{as_file_name(target)}"
        tables.append(
            Table(
                name,
                f"Every mask on every domain: {line.title}, {target or 'nothing'} held out",
                columns,
                rows,
                mine,
                notes,
            )
        )
    return tables


def _mask_cell(row: Mapping[str, Any] | None, column: Sequence[float], oracle: bool) -> Cell:
    if row is None:
        return nothing()
    value = float(row["accuracy"])
    low, high = min(column), max(column)
    heat = (value - low) / (high - low) if high > low else 0.5
    printed = row["paper_accuracy"]
    detail = "" if is_missing(printed) else f"paper {100 * float(printed):.2f}"
    if oracle:
        return Cell(f"{100 * value:.2f}", value, "oracle", heat, "oracle")
    is_own = row["mask"] == f"{KNOWN_DOMAIN}{row['domain']}"
    return Cell(f"{100 * value:.2f}", value, detail, heat, "own" if is_own else "")


def _mask_name(mask: str, oracle: bool) -> Cell:
    if mask.startswith(KNOWN_DOMAIN):
        name = mask.removeprefix(KNOWN_DOMAIN)
    else:
        name = "combined" if mask == PREDICTION_ENSEMBLE else f"{mask} ensemble"
    return text_cell(name, "oracle", "oracle") if oracle else text_cell(name)


def _printed_mask(group: Group, target: str, ensemble: str, domain: str) -> MaskNumber | None:
    mask = "combined" if ensemble == PREDICTION_ENSEMBLE else ensemble.removeprefix(KNOWN_DOMAIN)
    wanted = (group.dataset, group.backbone, target, mask, domain)
    for number in mask_numbers():
        if (number.dataset, number.backbone, number.target, number.mask, number.domain) == wanted:
            return number
    return None


def _names(line: Line, target: str) -> list[str]:
    return list(line.by_target[target][0].results.targets)
