"""Tables of the metrics beside accuracy: macro F1, top-5, AUROC, calibration, the worst group."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from domain_masks.evaluation import mean_and_standard_deviation
from domain_masks.records.collection import RunRecord
from domain_masks.records.measured_metrics import LEAST_IN_GROUP, MeasureMetrics
from domain_masks.records.results import IN_DOMAIN, MEASURE_TITLES, OUT_OF_DOMAIN, OVERALL
from domain_masks.report.document import Block
from domain_masks.report.runs.accuracies import accuracies_of, complete_runs
from domain_masks.report.runs.correctness import class_areas
from domain_masks.report.runs.groups import Group
from domain_masks.report.runs.lines import Line
from domain_masks.report.tables.accuracy_tables import method_cell
from domain_masks.report.tables.table import Cell, Column, Table, n_text, nothing, text_cell, typed

METRICS = {
    "macro_f1": "macro F1",
    "top_5": "top-5",
    "auroc": "AUROC",
    "worst_group": "worst group",
    "calibration_error": "ECE",
    "calibrated_error": "ECE with temperature",
}
"""Metric -> the title of its column."""
_KEYS = {
    "line": "str",
    "target_labels_used": "boolean",
    "measure": "str",
    "split": "str",
    "held_out": "str",
    "runs": "Int64",
    "images": "Int64",
}
COLUMNS = _KEYS | {f"{name}{part}": "Float64" for name in METRICS for part in ("", "_deviation")}
"""Columns of a table's frame; metrics are fractions in [0, 1]."""
MOST_CLASSES = 40


def metric_tables(group: Group) -> list[Block]:
    """Return a table of metrics per measure, and one of AUROC by class per line; none without predictions."""
    tables = [_table(group, measure) for measure in MEASURE_TITLES]
    return [*(table for table in tables if table is not None), *_by_class(group)]


def _table(group: Group, measure: str) -> Table | None:
    rows, flat, shown = [], [], []
    # With one held-out domain the mean is that domain's number.
    held_out = (*group.main_targets, OVERALL) if len(group.main_targets) > 1 else group.main_targets
    for line in (*group.lines, *group.published):
        for name in held_out:
            records = complete_runs(group, line) if name == OVERALL else line.by_target.get(name, ())
            found = [(record, _metrics(group, record, measure)) for record in records]
            if not found or any(metrics is None for _, metrics in found):
                continue
            measured = [(record, metrics) for record, metrics in found if metrics is not None]
            shown += [metrics for _, metrics in measured]
            row, cells = _row(line, measure, name, measured)
            flat.append(row)
            rows.append([method_cell(line), text_cell(name or "–"), *cells])
    if not rows:
        return None
    columns = [Column("method", is_number=False), Column("held out", is_number=False), *map(Column, METRICS.values())]
    frame = typed(flat, COLUMNS)
    kept = [place for place, name in enumerate(METRICS) if frame[name].notna().any()]
    return Table(
        f"{group.name}-{measure.replace('_', '-')}-metrics",
        f"{MEASURE_TITLES[measure].capitalize()}: beyond accuracy",
        [*columns[:2], *(columns[2 + place] for place in kept), Column("images")],
        [[*row[:2], *(row[2 + place] for place in kept), row[-1]] for row in rows],
        frame,
        list(_notes(shown)),
    )


def _metrics(group: Group, record: RunRecord, measure: str) -> MeasureMetrics | None:
    return group.of(record).metrics.get(measure)


def _row(
    line: Line, measure: str, held_out: str, measured: Sequence[tuple[RunRecord, MeasureMetrics]]
) -> tuple[dict[str, Any], list[Cell]]:
    """Return a line's metrics on one held-out domain: a row of the frame, and its cells, the number of images last."""
    splits = [found.split for record, _ in measured if (found := accuracies_of(record, measure)) is not None]
    counts = {",".join(record.results.targets): metrics.images for record, metrics in measured}
    images = sum(counts.values())
    row: dict[str, Any] = {"line": line.label, "measure": measure, "split": ", ".join(dict.fromkeys(splits))}
    row |= {"target_labels_used": line.oracle, "held_out": held_out, "runs": len(measured), "images": images}
    cells = []
    for name in METRICS:
        by_seed: dict[int, list[float]] = {}
        for record, metrics in measured:
            if (value := _value(metrics, name)) is not None:
                by_seed.setdefault(record.results.seed, []).append(value)
        if sum(map(len, by_seed.values())) < len(measured):
            cells.append(nothing())
            continue
        mean, deviation = mean_and_standard_deviation([sum(part) / len(part) for part in by_seed.values()])
        row |= {name: mean, f"{name}_deviation": deviation}
        text = f"{100 * mean:.2f}" + ("" if deviation is None else f" ± {100 * deviation:.2f}")
        detail = _worst(measured) if name == "worst_group" else ""
        cells.append(Cell(f"{text} oracle", mean, detail, mark="oracle") if line.oracle else Cell(text, mean, detail))
    return row, [*cells, Cell(f"{images:,}", images)]


def _value(metrics: MeasureMetrics, name: str) -> float | None:
    if name == "worst_group":
        return None if metrics.worst_group is None else metrics.worst_group.accuracy
    value: float | None = getattr(metrics, name)
    return value


def _worst(measured: Sequence[tuple[RunRecord, MeasureMetrics]]) -> str:
    """Return the name and size of the worst group, if it is the same in all runs."""
    groups = {
        (worst.domain, worst.class_name, worst.images) for _, metrics in measured if (worst := metrics.worst_group)
    }
    if len(groups) != 1:
        return "differs between runs"
    ((domain, name, images),) = groups
    return f"{domain}/{name}, {n_text(images)}"


def _notes(shown: Sequence[MeasureMetrics]) -> Iterator[str]:
    yield (
        "In percent; the mean over the domains of a run, then over held-out domains, then over seeds. macro F1 and AUROC (each "
        "class against the rest) are means over the classes with images in a domain. ECE: expected calibration error over 15 "
        "bins of confidence (Guo et al., 2017)."
    )
    yield (
        f"worst group: the class and domain with the lowest accuracy in a run, among those of at least {LEAST_IN_GROUP} "
        f"images{_left_out(shown)}."
    )
    absent: dict[str, int] = {}
    for metrics in shown:
        for domain, found in metrics.per_domain.items():
            absent[domain] = max(absent.get(domain, 0), found.of_classes - found.classes)
    if missing := [f"{domain} {count}" for domain, count in absent.items() if count]:
        yield f"Classes without images, which have no F1 and no AUROC: {', '.join(missing)}."
    if any(metrics.top_5 is None for metrics in shown):
        yield "There are no more than five classes, so there is no top-5 accuracy."
    if any(metrics.auroc is None for metrics in shown):
        yield "AUROC is undefined where all images of a domain are of one class."
    if any(metrics.calibrated_error is not None for metrics in shown):
        yield (
            "ECE with temperature: of the calibrated model, on images that its temperature was not fitted on. It was fitted on "
            "the sources' validation images, which also chose the epoch."
        )


def _left_out(shown: Sequence[MeasureMetrics]) -> str:
    most = max((metrics.worst_group.left_out for metrics in shown if metrics.worst_group is not None), default=0)
    return f" (up to {most} smaller groups of a run are left out)" if most else ""


def _by_class(group: Group) -> Iterator[Table]:
    """Yield AUROC by class of each line: on each held-out domain, or with a single one on all domains of the runs."""
    measures = [OUT_OF_DOMAIN] if len(group.main_targets) > 1 else [OUT_OF_DOMAIN, IN_DOMAIN]
    for place, line in enumerate(group.lines):
        by_run = [
            (domain, areas)
            for target in group.main_targets
            for record in line.by_target.get(target, ())
            for measure in measures
            for domain, areas in class_areas(record, measure).items()
        ]
        classes = dict.fromkeys(name for _, areas in by_run for name in areas)
        if by_run and len(classes) <= MOST_CLASSES:
            yield _class_table(f"{group.name}-auroc-{place + 1}", line, by_run, list(classes))


def _class_table(
    name: str, line: Line, by_run: Sequence[tuple[str, Mapping[str, tuple[float | None, int]]]], classes: Sequence[str]
) -> Table:
    domains = list(dict.fromkeys(domain for domain, _ in by_run))
    rows, flat = [], []
    for title in classes:
        cells = [text_cell(title)]
        for domain in domains:
            found = [areas[title] for other, areas in by_run if other == domain and title in areas]
            values = [area for area, _ in found if area is not None]
            images = max((count for _, count in found), default=0)
            row = {"line": line.label, "class": title, "domain": domain, "images": images, "runs": len(values)}
            if not values:
                cells.append(Cell("–", None, n_text(images), mark="muted"))
            else:
                mean, deviation = mean_and_standard_deviation(values)
                text = f"{100 * mean:.2f}" + ("" if deviation is None else f" ± {100 * deviation:.2f}")
                cells.append(Cell(text, mean, n_text(images)))
                row |= {"auroc": mean, "deviation": deviation}
            flat.append(row)
        rows.append(cells)
    types = {"line": "str", "class": "str", "domain": "str", "images": "Int64", "runs": "Int64"}
    return Table(
        name,
        f"AUROC by class: {line.title}",
        [Column("class", is_number=False), *map(Column, domains)],
        rows,
        typed(flat, types | {"auroc": "Float64", "deviation": "Float64"}),
        [
            "Area under the ROC curve of a class's probability against all other classes, in percent; n: images of the class. "
            "A dash: undefined, as the domain has no image of the class, or of no other."
        ],
        folded=True,
    )
