"""What ``dmg analyze`` found in single runs: nearest sources, neurons switched off, calibration, confusion, galleries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from domain_masks.errors import DomainMasksError
from domain_masks.records.analysis import Analysis, Calibration, Confusion
from domain_masks.records.analysis import Gallery as GalleryRecord
from domain_masks.records.collection import RunRecord
from domain_masks.report.cells import Cell, Column, Table, number, p_text, percent, text_cell
from domain_masks.report.groups import Group, target_of
from domain_masks.report.outline import Block, Gallery, Picture, Section, Words
from domain_masks.report.plots import Figure, Panel, Series

FILE = "analysis.json"
_ABLATED = {"shared": 0, "specific": 1, "random": 7}


@dataclass(frozen=True)
class Understanding:
    """What sections about single runs are made of.

    - ``sections``: one per run, the first open
    - ``problems``: what could not be read
    """

    sections: Sequence[Section]
    problems: Sequence[str]


def understanding(group: Group, gallery: bool, most_runs: int = 24) -> Understanding:
    """Read the analyses of the runs behind a group's lines, the first seed of each line and held-out domain."""
    sections: list[Section] = []
    problems: list[str] = []
    first = [records[0] for line in group.lines for records in line.by_target.values() if records]
    there = [record for record in first if (record.folder.path / FILE).is_file()]
    for place, record in enumerate(there[:most_runs]):
        try:
            analysis = Analysis.read(record.folder.path / FILE)
        except DomainMasksError as error:
            problems.append(str(error))
            continue
        sections.append(_section(group, record, analysis, gallery, f"{group.name}-understanding-{place + 1}"))
    if len(there) > most_runs:
        problems.append(f"{len(there) - most_runs} further analyses are not shown: look at their runs one by one")
    return Understanding(sections, problems)


def _section(group: Group, record: RunRecord, analysis: Analysis, gallery: bool, anchor: str) -> Section:
    results = record.results
    held_out = target_of(record)
    name = anchor
    blocks: list[Block] = [
        *_nearest(analysis, name),
        *_ablation(analysis, name, results.targets),
        *_calibration(analysis, name, held_out),
        *_confusion(analysis, name, results.targets),
        *_classes(analysis, name),
    ]
    if gallery:
        blocks += [_gallery(record, entry) for entry in (analysis.galleries or {}).values() if entry["items"]]
    if analysis.notes:
        blocks.append(Words("Left out:", analysis.notes, tone="note"))
    title = f"{results.method}, {held_out or 'nothing'} held out, seed {results.seed}"
    return Section(title, anchor, blocks, folded=True)


def _nearest(analysis: Analysis, name: str) -> Iterator[Block]:
    found = analysis.nearest_source
    if found is None:
        return
    sources = list(dict.fromkeys(source for shares in found["domains"].values() for source in shares))
    measures = [
        key
        for key in ("nearest", "predictions", "weighted", "best_single")
        if any(key in row for row in found["accuracy"].values())
    ]
    rows = []
    flat = []
    for domain, shares in found["domains"].items():
        accuracies = found["accuracy"].get(domain, {})
        test = found["test"].get(domain)
        cells = [text_cell(domain)]
        cells += [
            Cell(f"{100 * shares.get(source, 0.0):.1f}", shares.get(source, 0.0), heat=shares.get(source, 0.0))
            for source in sources
        ]
        for measure in measures:
            is_oracle = measure == "best_single"
            value = accuracies.get(measure)
            if is_oracle and value is not None:
                detail = f"mask of {found['best_single'].get(domain, '?')}"
                cells.append(Cell(f"{100 * value:.2f} oracle", value, detail, mark="oracle"))
            else:
                cells.append(percent(value))
        cells += [percent(found["agreement"].get(domain), 1)]
        cells += [Cell(p_text(test["p_value"]), test["p_value"]) if test else number(None)]
        rows.append(cells)
        flat.append(
            {
                "domain": domain,
                **{f"share {s}": shares.get(s) for s in sources},
                **{f"accuracy {m}": accuracies.get(m) for m in measures},
                "agreement": found["agreement"].get(domain),
                "p_value": test["p_value"] if test else None,
            }
        )
    titles = {
        "nearest": "nearest source's mask",
        "predictions": "ensemble",
        "weighted": "weighted",
        "best_single": "best single mask",
    }
    columns = [Column("pictures of", is_number=False), *(Column(f"nearest to {source}, %") for source in sources)]
    columns += [*(Column(titles[measure]) for measure in measures), Column("agree, %"), Column("p")]
    notes = [
        f"Nearest: {found['rule']}.",
        "p: exact McNemar test of the nearest source's mask against the ensemble. The best single mask is "
        "chosen by the labels that it is "
        "measured on: an oracle.",
    ]
    yield Table(f"{name}-nearest", "Which source a picture is nearest to", columns, rows, pd.DataFrame(flat), notes)


def _ablation(analysis: Analysis, name: str, targets: Sequence[str]) -> Iterator[Block]:
    found = analysis.ablation
    if found is None or not found["rows"]:
        return
    domains = [domain for domain in found["split"] if domain in targets] + [
        d for d in found["split"] if d not in targets
    ]
    panels = []
    sites = list(dict.fromkeys(row["site"] for row in found["rows"]))
    site = "all" if "all" in sites else sites[0]
    for domain in domains:
        series = []
        for number_of, (kind, matched) in enumerate(
            dict.fromkeys((row["kind"], row.get("matched", "")) for row in found["rows"])
        ):
            rows = sorted(
                (
                    r
                    for r in found["rows"]
                    if r["site"] == site
                    and r["kind"] == kind
                    and r.get("matched", "") == matched
                    and domain in r["accuracy"]
                ),
                key=lambda r: r["fraction"],
            )
            if rows:
                label = f"random, as many as {matched}" if matched else kind
                colour = _ABLATED.get(kind, number_of) if kind != "random" else 3 + number_of
                series.append(
                    Series(
                        label,
                        [r["fraction"] for r in rows],
                        [100 * r["accuracy"][domain] for r in rows],
                        colour,
                        [100 * r["deviation"][domain] if domain in r.get("deviation", {}) else None for r in rows],
                    )
                )
        if series:
            title = f"{domain} (held out)" if domain in targets else domain
            panels.append(Panel(title, "fraction switched off", "accuracy, %", series))
    if panels:
        caption = (
            "Accuracy of the prediction ensemble with shared, specific or random neurons switched off in the "
            "masks of all sources" + (" at all sites." if site == "all" else f" at {site}.")
        )
        yield Figure(f"{name}-ablation", "Neurons switched off", caption, panels)


def _calibration(analysis: Analysis, name: str, held_out: str) -> Iterator[Block]:
    panels = []
    for number_of, (domain, found) in enumerate(analysis.calibration.items()):
        panels.append(_reliability(domain, found, number_of, domain in held_out.split(",")))
    if panels:
        caption = (
            "Accuracy of the pictures of each confidence; on the dashed line confidence is right. ECE: "
            "expected calibration error."
        )
        yield Figure(f"{name}-calibration", "Calibration", caption, panels)


def _reliability(domain: str, found: Calibration, colour: int, is_held_out: bool) -> Panel:
    bins = found["bins"]
    points = [
        (c, a) for c, a in zip(bins["confidence"], bins["accuracy"], strict=True) if c is not None and a is not None
    ]
    series = Series("accuracy", [c for c, _ in points], [a for _, a in points], 1 if is_held_out else 0)
    title = f"{domain}{' (held out)' if is_held_out else ''}: ECE {found['ece']:.3f}"
    return Panel(title, "confidence", "accuracy", [series], limits=(0, 1), diagonal=True)


def _confusion(analysis: Analysis, name: str, targets: Sequence[str]) -> Iterator[Block]:
    for place, (domain, found) in enumerate(analysis.confusion.items()):
        if domain in targets:
            yield _confusion_table(found, domain, f"{name}-confusion-{place + 1}")


def _confusion_table(found: Confusion, domain: str, name: str) -> Table:
    rows = []
    for label, counts in zip(found["classes"], found["counts"], strict=False):
        total = sum(counts) or 1
        cells = [
            Cell(str(count), count, heat=count / total, mark="own" if other == label else "")
            for other, count in zip(found["classes"], counts, strict=False)
        ]
        rows.append([text_cell(label), *cells])
    flat = [
        {"label": label, "predicted": other, "count": count}
        for label, counts in zip(found["classes"], found["counts"], strict=False)
        for other, count in zip(found["classes"], counts, strict=False)
    ]
    notes = ["Rows: what is in the picture; columns: what was predicted, how many pictures."]
    if found["of"] > len(found["classes"]):
        notes.append(f"The {len(found['classes'])} classes with the most errors, of {found['of']}.")
    if found["pairs"]:
        pairs = ", ".join(
            f"{pair['label']} taken for {pair['predicted']} ({pair['count']})" for pair in found["pairs"][:5]
        )
        notes.append(f"Most frequent errors: {pairs}.")
    columns = [Column("", is_number=False), *(Column(label) for label in found["classes"])]
    return Table(name, f"Confusion, {domain} (held out)", columns, rows, pd.DataFrame(flat), notes)


def _classes(analysis: Analysis, name: str) -> Iterator[Block]:
    classes = list(dict.fromkeys(label for values in analysis.per_class.values() for label in values))
    if not classes:
        return
    domains = list(analysis.per_class)
    rows = []
    for label in classes:
        values = [analysis.per_class[domain].get(label) for domain in domains]
        rows.append(
            [text_cell(label), *(Cell(f"{100 * v:.1f}", v, heat=v) if v is not None else number(None) for v in values)]
        )
    flat = [
        {"class": label, "domain": domain, "accuracy": analysis.per_class[domain].get(label)}
        for label in classes
        for domain in domains
    ]
    columns = [Column("class", is_number=False), *map(Column, domains)]
    note = "In percent; a dash where a domain has no picture of a class."
    yield Table(
        f"{name}-classes", "Accuracy by class", columns, rows, pd.DataFrame(flat), [note], folded=len(classes) > 15
    )


def _gallery(record: RunRecord, found: GalleryRecord) -> Gallery:
    pictures = []
    for item in found["items"]:
        thumbnail = item.get("thumbnail")
        if thumbnail is None:
            continue
        votes: Mapping[str, Mapping[str, Any]] = item.get("votes", {})
        told = [(source, f"{vote['class']} {100 * vote['probability']:.0f} %") for source, vote in votes.items()]
        is_wrong = item["predicted"] != item["label"]
        caption = f"{item['predicted']} {100 * item['confidence']:.0f} %" + (
            f", is {item['label']}" if is_wrong else ""
        )
        pictures.append(Picture(record.folder.path / thumbnail, item["id"], caption, told, is_wrong))
    return Gallery(found["title"], pictures)
