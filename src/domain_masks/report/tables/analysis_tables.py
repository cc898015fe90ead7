"""What ``dmg analyze`` found in single runs: nearest sources, neurons switched off, calibration, confusion, galleries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from domain_masks.errors import DomainMasksError
from domain_masks.records.analysis import AblationRow, Analysis, Calibration, Confusion, NearestSource
from domain_masks.records.analysis import Gallery as GalleryRecord
from domain_masks.records.collection import RunRecord
from domain_masks.report.document import Block, Gallery, GalleryImage, Paragraph, Section
from domain_masks.report.figures.plots import Figure, Panel, Series
from domain_masks.report.runs.groups import Group, target_of
from domain_masks.report.tables.table import Cell, Column, Table, n_text, nothing, p_text, percent, text_cell

FILE = "analysis.json"
_ABLATED = {"shared": 0, "specific": 1, "random, as many as shared": 5, "random, as many as specific": 7}
_NEAREST = {
    "nearest": "nearest source's mask",
    "predictions": "ensemble",
    "weighted": "weighted",
    "best_single": "best single mask",
}


@dataclass(frozen=True)
class Understanding:
    """What sections about single runs are made of.

    - ``sections``: one per run, open where there is one
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
        section = _section(group, record, analysis, gallery, f"{group.name}-understanding-{place + 1}")
        sections.append(replace(section, folded=len(there) > 1))
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
        *_calibration(analysis, name, results.targets),
        *_confusion(analysis, name, results.targets),
        *_classes(analysis, name),
    ]
    if gallery:
        blocks += [_gallery(record, entry) for entry in (analysis.galleries or {}).values() if entry.items]
    if analysis.notes:
        blocks.append(Paragraph("Left out:", analysis.notes, tone="note"))
    title = f"{results.method}, {held_out or 'nothing'} held out, seed {results.seed}"
    return Section(title, anchor, blocks, folded=True)


def _nearest(analysis: Analysis, name: str) -> Iterator[Block]:
    found = analysis.nearest_source
    if found is None:
        return
    sources = list(dict.fromkeys(source for shares in found.domains.values() for source in shares))
    measures = [key for key in _NEAREST if any(key in row for row in found.accuracy.values())]
    rows, flat = [], []
    for domain, shares in found.domains.items():
        accuracies = found.accuracy.get(domain, {})
        agreement, test = found.agreement.get(domain), found.test.get(domain)
        p_value = None if test is None else test.p_value
        rows.append(
            [
                text_cell(domain, n_text(found.images.get(domain))),
                *(_tinted(shares.get(source, 0.0)) for source in sources),
                *(_nearest_accuracy(measure, accuracies, found.best_single.get(domain, "")) for measure in measures),
                percent(agreement, 1),
                nothing() if p_value is None else Cell(p_text(p_value), p_value),
            ]
        )
        row: dict[str, Any] = {"domain": domain, "images": found.images.get(domain)}
        row |= {"agreement": agreement, "p_value": p_value}
        row |= {f"share {source}": shares.get(source) for source in sources}
        flat.append(row | {f"accuracy {measure}": accuracies.get(measure) for measure in measures})
    columns = [Column("images of", is_number=False), *(Column(f"{source}, %") for source in sources)]
    columns += [*(Column(_NEAREST[measure]) for measure in measures), Column("agree, %"), Column("p")]
    notes = [
        f"The tinted columns: how many of a domain's images are nearest to each source. Nearest: {found.rule}. "
        + _right(found),
        "Then accuracies in percent; agree: the nearest source's mask and the ensemble say the same class; p: exact McNemar "
        "test between them. The best single mask is chosen by the labels that it is measured on: an oracle.",
    ]
    yield Table(f"{name}-nearest", "Which source an image is nearest to", columns, rows, pd.DataFrame(flat), notes)


def _right(found: NearestSource) -> str:
    """Say how often the nearest source is right on the sources' own images, and other rules beside it."""
    right = found.right
    each = ", ".join(f"{name} {100 * value:.1f}" for name, value in right.per_domain.items())
    count = f" (n = {right.count:,})" if right.count is not None else ""
    others = [f"the {rule} on {100 * value:.1f} %" for rule, value in found.rules.items() if rule != right.by]
    return (
        f"It is right on {100 * right.accuracy:.1f} % of the sources' own {right.split} images{count}"
        f"{f': {each}' if each else ''}; chance is {100 / max(1, len(right.per_domain)):.1f} %"
        f"{'. For comparison: ' + ', '.join(others) if others else ''}."
    )


def _tinted(value: float) -> Cell:
    return Cell(f"{100 * value:.1f}", value, heat=value)


def _nearest_accuracy(measure: str, accuracies: Mapping[str, float], best: str) -> Cell:
    value = accuracies.get(measure)
    if value is None or measure != "best_single":
        return percent(value)
    return Cell(f"{100 * value:.2f} oracle", value, f"mask of {best}", mark="oracle")


def _ablation(analysis: Analysis, name: str, targets: Sequence[str]) -> Iterator[Block]:
    found = analysis.ablation
    if found is None or not found.rows:
        return
    sites = list(dict.fromkeys(row.site for row in found.rows))
    site = "all" if "all" in sites else sites[0]
    rows = [row for row in found.rows if row.site == site]
    panels = []
    for domain in sorted(found.split, key=lambda domain: domain not in targets):
        if series := _ablated(rows, domain):
            title = f"{domain} (held out)" if domain in targets else domain
            panels.append(Panel(title, "fraction switched off", "accuracy, %", series))
    if panels:
        where = "all sites" if site == "all" else site
        caption = (
            "Accuracy of the prediction ensemble with neurons of one kind switched off in the masks of all sources, at "
            f"{where}; shaded: ± one standard deviation over random choices."
        )
        yield Figure(f"{name}-ablation", "Neurons switched off", caption, panels)


def _ablated(rows: Sequence[AblationRow], domain: str) -> list[Series]:
    """Return accuracy against the fraction that is off, a line per kind; all begin where nothing is switched off."""
    here = [row for row in rows if domain in row.accuracy]
    whole = [row for row in here if not row.neurons]
    series: list[Series] = []
    for kind, matched in dict.fromkeys((row.kind, row.matched) for row in here if row.neurons):
        mine = [row for row in here if row.neurons and (row.kind, row.matched) == (kind, matched)]
        line = sorted([*whole[:1], *mine], key=lambda row: row.fraction)
        label = f"random, as many as {matched}" if matched else kind
        spread = [row.deviation.get(domain) for row in line]
        series.append(
            Series(
                label,
                [row.fraction for row in line],
                [100 * row.accuracy[domain] for row in line],
                _ABLATED.get(label, len(series) + 2),
                [None if value is None else 100 * value for value in spread],
            )
        )
    return series


def _calibration(analysis: Analysis, name: str, targets: Sequence[str]) -> Iterator[Block]:
    panels = []
    for number_of, (domain, found) in enumerate(analysis.calibration.items()):
        panels.append(_reliability(domain, found, number_of, domain in targets))
    if panels:
        caption = (
            "Accuracy of the images of each confidence; on the dashed line confidence is right. ECE: "
            "expected calibration error."
        )
        yield Figure(f"{name}-calibration", "Calibration", caption, panels)


def _reliability(domain: str, found: Calibration, colour: int, is_held_out: bool) -> Panel:
    bins = found.bins
    points = [(c, a) for c, a in zip(bins.confidence, bins.accuracy, strict=True) if c is not None and a is not None]
    series = Series("accuracy", [c for c, _ in points], [a for _, a in points], 1 if is_held_out else 0)
    title = f"{domain}{' (held out)' if is_held_out else ''}: ECE {found.ece:.3f}, n = {found.images:,}"
    return Panel(title, "confidence", "accuracy", [series], limits=(0, 1), diagonal=True)


def _confusion(analysis: Analysis, name: str, targets: Sequence[str]) -> Iterator[Block]:
    for place, (domain, found) in enumerate(analysis.confusion.items()):
        if domain in targets:
            yield _confusion_table(found, domain, f"{name}-confusion-{place + 1}")


def _confusion_table(found: Confusion, domain: str, name: str) -> Table:
    rows = []
    # Of some classes alone the rows do not hold all images.
    is_whole = found.of == len(found.classes)
    for label, counts in zip(found.classes, found.counts, strict=False):
        total = sum(counts) or 1
        cells = [
            Cell(str(count), count, heat=count / total, mark="own" if other == label else "")
            for other, count in zip(found.classes, counts, strict=False)
        ]
        rows.append([text_cell(label, n_text(sum(counts)) if is_whole else ""), *cells])
    flat = [
        {"label": label, "predicted": other, "count": count}
        for label, counts in zip(found.classes, found.counts, strict=False)
        for other, count in zip(found.classes, counts, strict=False)
    ]
    notes = ["Rows: the label; columns: what was predicted, how many images."]
    if found.of > len(found.classes):
        notes.append(f"The {len(found.classes)} classes with the most errors, of {found.of}.")
    if found.pairs:
        pairs = ", ".join(f"{pair.label} taken for {pair.predicted} ({pair.count})" for pair in found.pairs[:5])
        notes.append(f"Most frequent errors: {pairs}.")
    columns = [Column("", is_number=False), *(Column(label) for label in found.classes)]
    return Table(name, f"Confusion, {domain} (held out)", columns, rows, pd.DataFrame(flat), notes, is_matrix=True)


def _classes(analysis: Analysis, name: str) -> Iterator[Block]:
    classes = list(dict.fromkeys(label for values in analysis.per_class.values() for label in values))
    if not classes:
        return
    domains = list(analysis.per_class)
    rows = []
    counts = analysis.per_class_counts or {}
    for label in classes:
        cells = []
        for domain in domains:
            value, count = analysis.per_class[domain].get(label), counts.get(domain, {}).get(label)
            cells.append(nothing() if value is None else Cell(f"{100 * value:.1f}", value, n_text(count), heat=value))
        rows.append([text_cell(label), *cells])
    flat = [
        {
            "class": label,
            "domain": domain,
            "accuracy": analysis.per_class[domain].get(label),
            "images": counts.get(domain, {}).get(label),
        }
        for label in classes
        for domain in domains
    ]
    columns = [Column("class", is_number=False), *(_domain_column(analysis, domain) for domain in domains)]
    note = "In percent, n: how many images; a dash where a domain has no image of a class."
    yield Table(
        f"{name}-classes",
        "Accuracy by class",
        columns,
        rows,
        _with_whole(flat, "images"),
        [note],
        folded=len(classes) > 15,
    )


def _domain_column(analysis: Analysis, domain: str) -> Column:
    """Return the column of a domain, with the split that shows it and how many images that has."""
    split = analysis.mask_by_domain_splits.get(domain, "").replace("_", " ")
    calibration = analysis.calibration.get(domain)
    count = n_text(None if calibration is None else calibration.images)
    return Column(domain, detail=", ".join(part for part in (split, count) if part))


def _with_whole(rows: Sequence[Mapping[str, Any]], column: str) -> pd.DataFrame:
    """Return rows as a frame, a column of which is whole numbers that may be missing."""
    frame = pd.DataFrame(rows)
    return frame.astype({column: "Int64"}) if column in frame else frame


def _gallery(record: RunRecord, found: GalleryRecord) -> Gallery:
    images = []
    for item in found.items:
        thumbnail = item.thumbnail
        if thumbnail is None:
            continue
        told = [(source, f"{vote.class_name} {100 * vote.probability:.0f} %") for source, vote in item.votes.items()]
        is_wrong = item.predicted != item.label
        caption = f"{item.predicted} {100 * item.confidence:.0f} %" + (f", is {item.label}" if is_wrong else "")
        images.append(GalleryImage(record.folder.path / thumbnail, item.id, caption, told, is_wrong))
    return Gallery(found.title, images)
