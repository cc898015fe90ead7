"""Tables of masks: overlap, kinds of units, and the accuracy of every mask on every domain (Table 4)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from domain_masks.records.collection import RunRecord
from domain_masks.records.ensemble_names import KNOWN_DOMAIN, PREDICTION_ENSEMBLE
from domain_masks.records.pairs import pair_key, pair_of
from domain_masks.records.results import IN_DOMAIN, OUT_OF_DOMAIN, SiteMasks
from domain_masks.report.runs.accuracies import target_differences
from domain_masks.report.runs.groups import Group
from domain_masks.report.runs.held_out import target_of
from domain_masks.report.runs.lines import Line
from domain_masks.report.runs.naming import as_file_name
from domain_masks.report.runs.paper_numbers import mask_numbers
from domain_masks.report.tables.table import (
    ORACLE_NOTE,
    Cell,
    Column,
    Table,
    is_missing,
    n_text,
    nothing,
    number,
    rows_of,
    text_cell,
    typed,
)

MASKS = {
    "group": "str",
    "method": "str",
    "line": "str",
    "held_out": "str",
    "seed": "Int64",
    "site": "str",
    "quantity": "str",
    "name": "str",
    "value": "Float64",
}
"""Columns of :func:`mask_frame`; ``value`` is a fraction.

``quantity`` is overall_iou, pairwise_iou, activated, average_activated or kinds. The IoU of two empty masks is 1, as in the
authors' code, so very sparse masks overlap (Figure 6c).
"""
MASK_BY_DOMAIN = {
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
_TITLES = {
    "overall": "IoU",
    "average": "active, average",
    "off": "inactive in all",
    "shared": "shared by all",
    "specific": "specific to some",
}


def mask_rows(sites: Mapping[str, SiteMasks], sources: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield site, quantity, name and value of all statistics of hard masks; ``sites`` is by mask site.

    The name of a pair of domains does not depend on the order of the masks' rows.
    """
    for site, masks in sites.items():
        named: dict[str, Mapping[str, float | None]] = {
            "overall_iou": {"overall": masks.overall_iou},
            "average_activated": {"average": masks.average_activated},
            "pairwise_iou": {
                pair_key(*sorted(pair_of(pair, sources))): iou for pair, iou in masks.pairwise_iou.items()
            },
            "activated": masks.activated,
            "kinds": {} if masks.kinds is None else masks.kinds.by_kind(),
        }
        for quantity, values in named.items():
            for name, value in values.items():
                if value is not None:
                    yield {"site": site, "quantity": quantity, "name": name, "value": value}


def mask_frame(group: Group) -> pd.DataFrame:
    """Return overlap, active fractions and kinds of units of the hard masks, a row per run, site and name."""
    rows = [
        {
            "group": group.name,
            "method": line.method,
            "line": line.label,
            "held_out": target_of(record),
            "seed": record.results.seed,
            **row,
        }
        for line in group.lines
        for record in line.records
        for row in mask_rows(record.results.masks or {}, record.results.sources)
    ]
    return typed(rows, MASKS)


def mask_table(group: Group, frame: pd.DataFrame) -> Table | None:
    """Return overlap and kinds of units, a row per line, held-out domain and site; None without masks."""
    chosen = frame[frame["quantity"].isin(["overall_iou", "average_activated", "kinds"])]
    if chosen.empty:
        return None
    means = chosen.groupby(["line", "held_out", "site", "name"], sort=False)["value"].mean().reset_index()
    names = [name for name in _TITLES if (means["name"] == name).any()]
    rows = []
    for key, part in means.groupby(["line", "held_out", "site"], sort=False):
        values = dict(zip(part["name"], part["value"], strict=True))
        rows.append([*(text_cell(str(word) or "–") for word in key), *(number(values.get(name)) for name in names)])
    columns = [Column("method", is_number=False), Column("held out", is_number=False), Column("site", is_number=False)]
    columns += [Column(_TITLES[name]) for name in names]
    note = (
        "Hard masks, mean over seeds. IoU: mean over pairs of sources, 1 for two empty masks. The others are fractions of "
        "the units; “active, average” is the mean over the sources' masks."
    )
    return Table(f"{group.name}-masks", "Overlap and kinds of units", columns, rows, frame, [note], folded=True)


def mask_by_domain_frame(group: Group, line: Line) -> pd.DataFrame:
    """Return Table 4: the accuracy of every mask or head and of the ensembles on every domain, mean over seeds."""
    comparable = {target: not target_differences(line, target) for target in line.by_target}
    values: dict[tuple[str, str, str], list[float]] = {}
    counts: dict[tuple[str, str], set[int]] = {}
    for target, records in line.by_target.items():
        for record in records:
            by_mask, images = _by_mask(group, record)
            for mask, by_domain in by_mask.items():
                for domain, accuracy in by_domain.items():
                    values.setdefault((target, mask, domain), []).append(accuracy)
                    counts.setdefault((target, domain), set()).add(images[domain])
    rows = []
    for (target, mask, domain), accuracies in values.items():
        is_the_papers = comparable[target] and line.method == "dmg"
        rows.append(
            {
                "group": group.name,
                "method": line.method,
                "line": line.label,
                "held_out": target,
                "mask": mask,
                "domain": domain,
                "runs": len(accuracies),
                "images": next(iter(sizes)) if len(sizes := counts[target, domain]) == 1 else None,
                "accuracy": sum(accuracies) / len(accuracies),
                "paper_accuracy": _printed(group, target, mask, domain) if is_the_papers else None,
            }
        )
    return typed(rows, MASK_BY_DOMAIN)


def mask_by_domain_tables(group: Group, line: Line) -> list[Table]:
    """Return Table 4 for each held-out domain of a line with a mask or head per source."""
    frame = mask_by_domain_frame(group, line)
    singles = frame[frame["mask"].str.startswith(KNOWN_DOMAIN)]
    tables = []
    for target in [name for name in group.main_targets if (singles["held_out"] == name).any()]:
        of_target = frame[frame["held_out"] == target].reset_index(drop=True)
        name = f"{group.name}-masks-by-domain-{as_file_name(line.label)}-{as_file_name(target)}"
        title = f"Accuracy of every mask on every domain: {line.title}, {target or 'nothing'} held out"
        held_out = line.by_target[target][0].results.targets
        tables.append(mask_by_domain_table(name, title, of_target, held_out, line.oracle))
    return tables


def mask_by_domain_table(
    name: str, title: str, frame: pd.DataFrame, held_out: Sequence[str], oracle: bool = False
) -> Table:
    """Return the accuracy of every mask and ensemble on every domain, held-out domains last.

    - ``frame``: at least the columns mask, domain and accuracy of :func:`mask_by_domain_frame`, each pair once
    """
    lookup = {(row["mask"], row["domain"]): row for row in rows_of(frame)}
    domains = sorted(dict.fromkeys(frame["domain"]), key=lambda domain: domain in held_out)
    masks = sorted(dict.fromkeys(frame["mask"]), key=lambda mask: not mask.startswith(KNOWN_DOMAIN))
    ranges = {domain: [row["accuracy"] for (_, where), row in lookup.items() if where == domain] for domain in domains}
    rows = [
        [
            _mask_name(mask, oracle),
            *(_mask_cell(lookup.get((mask, domain)), ranges[domain], oracle) for domain in domains),
        ]
        for mask in masks
    ]
    images = {domain: row["images"] for (_, domain), row in lookup.items() if not is_missing(row["images"])}
    columns = [Column("mask", is_number=False)]
    columns += [
        Column(f"{domain} (held out)" if domain in held_out else domain, detail=n_text(images.get(domain)))
        for domain in domains
    ]
    notes = [
        "Rows: the mask or head used for all images; columns: the domain of the images. Framed: a domain under its own mask. "
        "The shading ranges from the lowest to the highest number of a column."
    ]
    if frame["paper_accuracy"].notna().any():
        notes.append("Below each number: the paper's number (Table 4).")
    return Table(name, title, columns, rows, frame, [*notes, *([ORACLE_NOTE] if oracle else [])])


def _by_mask(group: Group, record: RunRecord) -> tuple[Mapping[str, Mapping[str, float]], Mapping[str, int]]:
    """Return mask or ensemble -> domain -> accuracy, and domain -> number of images; from the analysis if there is one."""
    if (analysis := group.analysis(record)) is not None:
        return analysis.mask_by_domain, {domain: part.images for domain, part in analysis.calibration.items()}
    accuracies: dict[str, dict[str, float]] = {}
    counts: dict[str, int] = {}
    for measure in (IN_DOMAIN, OUT_OF_DOMAIN):
        if (correctness := group.of(record).by_measure.get(measure)) is not None:
            counts |= {domain: len(ids) for domain, ids in correctness.ids.items()}
            for mask, right in correctness.right.items():
                accuracies.setdefault(mask, {}).update({domain: float(v.mean()) for domain, v in right.items()})
    return accuracies, counts


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


def _printed(group: Group, target: str, mask: str, domain: str) -> float | None:
    """Return the paper's number, or None."""
    name = "combined" if mask == PREDICTION_ENSEMBLE else mask.removeprefix(KNOWN_DOMAIN)
    wanted = (group.dataset, group.backbone, target, name, domain)
    for printed in mask_numbers():
        if (printed.dataset, printed.backbone, printed.target, printed.mask, printed.domain) == wanted:
            return printed.accuracy
    return None
