"""Tables of accuracies: all measures side by side, by held-out domain, every setting, and ensembles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from domain_masks.evaluation import mean_and_standard_deviation
from domain_masks.evaluation.selection_rules import RULES_IN_WORDS
from domain_masks.evaluation.variants import short_name
from domain_masks.records.collection import RunRecord
from domain_masks.records.counts import counted
from domain_masks.records.ensemble_names import KNOWN_DOMAIN, MASK_ENSEMBLE, PREDICTION_ENSEMBLE
from domain_masks.records.results import MEASURE_TITLES, OUT_OF_DOMAIN, OVERALL, Accuracies
from domain_masks.report.runs.accuracies import accuracies_of, ensembles_of, overall, summary
from domain_masks.report.runs.groups import Group
from domain_masks.report.runs.lines import Line, line_of
from domain_masks.report.runs.naming import value_text
from domain_masks.report.tables.footnotes import in_part, measure_notes, reading, split_notes
from domain_masks.report.tables.table import (
    Cell,
    Column,
    Table,
    is_missing,
    mean_of_whole,
    n_text,
    nothing,
    number,
    percent,
    points,
    rows_of,
    text_cell,
    typed,
)

Row = Mapping[str, Any]
_BY_DOMAIN = {
    "line": "str",
    "measure": "str",
    "split": "str",
    "domain": "str",
    "images": "Int64",
    "runs": "Int64",
    "accuracy": "Float64",
    "deviation": "Float64",
}


def side_by_side(group: Group, frame: pd.DataFrame) -> Table:
    """Return a row per line with its overall out-of-domain, in-domain and known-domain accuracy, time and best epoch."""
    rows = []
    best = {measure: _best(group, overall(frame, measure)) for measure in MEASURE_TITLES}
    has_paper = bool(overall(frame)["paper_accuracy"].notna().any())
    for line in (*group.lines, *group.published):
        cells = [method_cell(line)]
        for measure in MEASURE_TITLES:
            cells.append(_cell(_row(frame, line, measure, OVERALL), best[measure], line.oracle))
        printed = _row(frame, line, OUT_OF_DOMAIN, OVERALL)
        cells += _paper_cells(printed) if has_paper else []
        cells += [number(_mean_seconds(line), ".0f"), mean_of_whole(_mean_epochs(line)), _runs(line)]
        rows.append(cells)
    columns = [Column("method", is_number=False), *(Column(title) for title in MEASURE_TITLES.values())]
    columns += [Column("paper, out of domain"), Column("difference")] if has_paper else []
    columns += [Column("training, s"), Column("best epoch"), Column("runs")]
    chosen = frame[(frame["held_out"] == OVERALL) & (frame["ensemble"] == PREDICTION_ENSEMBLE)]
    return Table(
        f"{group.name}-overview",
        "Out-of-domain, in-domain and known-domain accuracy",
        columns,
        rows,
        chosen.reset_index(drop=True),
        [*reading(group, frame), *split_notes(group, frame)],
    )


def by_target(group: Group, frame: pd.DataFrame, measure: str) -> Table:
    """Return one measure: a row per line, a column per held-out domain and overall, with the paper's comparable rows."""
    of_measure = frame[(frame["measure"] == measure) & (frame["ensemble"] == PREDICTION_ENSEMBLE)]
    held_out = (*group.main_targets, OVERALL)
    best = {name: _best(group, of_measure[of_measure["held_out"] == name]) for name in held_out}
    rows: list[list[Cell]] = []
    for line in (*group.lines, *group.published):
        by_name = {name: _row(frame, line, measure, name) for name in held_out}
        if all(row is None for row in by_name.values()):
            continue
        rows.append([method_cell(line), *(_cell(row, best[name], line.oracle) for name, row in by_name.items())])
        printed = [row for row in by_name.values() if row is not None and not is_missing(row["paper_accuracy"])]
        if printed:
            table = printed[0]["paper_table"]
            rows.append(
                [
                    text_cell(f"{line.label}: paper", f"Table {table}", mark="paper"),
                    *(_paper_cells(row)[0] for row in by_name.values()),
                ]
            )
            rows.append(
                [
                    text_cell(f"{line.label}: difference", mark="paper"),
                    *(_paper_cells(row)[1] for row in by_name.values()),
                ]
            )
    heads = [Column(name or "(none held out)", detail=n_text(_count(of_measure, name))) for name in held_out]
    return Table(
        f"{group.name}-{measure.replace('_', '-')}",
        f"{MEASURE_TITLES[measure].capitalize()}, by held-out domain",
        [Column("method", is_number=False), *heads],
        rows,
        of_measure.reset_index(drop=True),
        measure_notes(group, frame, measure),
    )


def by_domain(group: Group) -> Table:
    """Return every measure by domain, where all shown runs hold out the same domains: a row per line and measure."""
    measured = [
        (
            line,
            measure,
            [
                _counted(group, record, measure, results)
                for record in line.records
                if (results := accuracies_of(record, measure))
            ],
        )
        for line in group.lines
        for measure in MEASURE_TITLES
    ]
    domains = list(
        dict.fromkeys(name for _, _, by_run in measured for results in by_run for name in results.per_domain)
    )
    rows, flat = [], []
    for line, measure, by_run in measured:
        if not by_run:
            continue
        split = ", ".join(dict.fromkeys(results.split for results in by_run))
        cells = [method_cell(line), text_cell(MEASURE_TITLES[measure], f"{split} images")]
        for domain in domains:
            having = [results for results in by_run if domain in results.per_domain]
            values = [results.per_domain[domain] for results in having]
            counts = {results.count_per_domain.get(domain) for results in having}
            mean, deviation = mean_and_standard_deviation(values) if values else (None, None)
            count = next(iter(counts)) if len(counts) == 1 else None
            cell = nothing() if mean is None else Cell(f"{100 * mean:.2f}", mean, n_text(count))
            if mean is not None and deviation is not None:
                cell = replace(cell, text=f"{cell.text} ± {100 * deviation:.2f}")
            cells.append(cell)
            if mean is not None:
                row = {"line": line.label, "measure": measure, "split": split, "domain": domain, "images": count}
                flat.append({**row, "runs": len(values), "accuracy": mean, "deviation": deviation})
        rows.append(cells)
    columns = [Column("method", is_number=False), Column("measure", is_number=False), *map(Column, domains)]
    note = "In percent; n: number of images of the domain. The mean over the domains of a row is its overall number."
    frame = typed(flat, _BY_DOMAIN)
    return Table(f"{group.name}-by-domain", "Accuracy by domain", columns, rows, frame, [note])


def _counted(group: Group, record: RunRecord, measure: str, accuracies: Accuracies) -> Accuracies:
    """Return accuracies with the number of images per domain, which older records lack."""
    correctness = group.of(record).by_measure.get(measure)
    if accuracies.count_per_domain or correctness is None:
        return accuracies
    return accuracies.model_copy(update={"count_per_domain": {name: len(ids) for name, ids in correctness.ids.items()}})


def _count(rows: pd.DataFrame, held_out: str) -> int | None:
    """Return the number of images of one held-out domain; None unless it is the same in all lines."""
    if held_out == OVERALL:
        return None
    counts = rows[rows["held_out"] == held_out]["images"].dropna().unique().tolist()
    return int(counts[0]) if len(counts) == 1 else None


def every_setting(group: Group) -> Table | None:
    """Return a row per setting that was run; None if no method has several."""
    if not group.is_swept:
        return None
    lines = [line_of(variant, group.main_targets) for variant in group.variants]
    frame = summary(group, lines)
    names = list(dict.fromkeys(name for variant in group.variants for name in variant.settings))
    rows = []
    for line, variant in zip(lines, group.variants, strict=True):
        cells = [text_cell(line.method, *(("oracle", "oracle") if line.oracle else ()))]
        cells += [_setting(variant.settings.get(name)) for name in names]
        cells += [_cell(_row(frame, line, OUT_OF_DOMAIN, name), None, line.oracle) for name in group.main_targets]
        cells += [_cell(_row(frame, line, measure, OVERALL), None, line.oracle) for measure in MEASURE_TITLES]
        rows.append([*(replace(cell, detail="") for cell in cells), number(_mean_iou(line))])
    columns = [Column("method", is_number=False), *(Column(short_name(name, names)) for name in names)]
    columns += [*(Column(name or "–") for name in group.main_targets)]
    columns += [*(Column(f"{title}, overall") for title in MEASURE_TITLES.values()), Column("IoU")]
    note = (
        "All settings that were run, with a column per held-out domain (out of domain). Choosing the highest number of this "
        "table would select on the held-out domain. IoU: mean over mask sites, held-out domains and seeds."
    )
    return Table(f"{group.name}-settings", "Every setting", columns, rows, frame, [note], folded=len(rows) > 12)


def chosen_settings(group: Group) -> Table | None:
    """Return the setting that the rule chose for every held-out domain; None if nothing was chosen."""
    lines = [line for line in group.lines if line.chosen]
    if not lines:
        return None
    targets = group.main_targets
    rows = [[method_cell(line), *(_chosen(line, target) for target in targets)] for line in lines]
    frame = pd.DataFrame(
        [
            {"method": line.method, "held_out": target, "chosen_by": line.rule, "setting": line.chosen.get(target, "")}
            for line in lines
            for target in targets
        ]
    )
    note = f"Chosen by {group.rule}: {RULES_IN_WORDS[group.rule]}; per held-out domain, by the mean over seeds."
    columns = [Column("method", is_number=False), *(Column(target or "–", is_number=False) for target in targets)]
    return Table(f"{group.name}-chosen", "Chosen settings", columns, rows, frame, [note])


def ensembles(group: Group, frame: pd.DataFrame) -> Table | None:
    """Return out-of-domain accuracy under every ensemble; None if no method has several."""
    lines = [line for line in group.lines if len(ensembles_of(line.records, OUT_OF_DOMAIN)) > 1]
    if not lines:
        return None
    names = ensembles_of([record for line in lines for record in line.records], OUT_OF_DOMAIN)
    names.sort(key=lambda name: (name.startswith(KNOWN_DOMAIN), [PREDICTION_ENSEMBLE, MASK_ENSEMBLE].count(name) == 0))
    rows = []
    for line in lines:
        # With one held-out domain the mean is that domain's number.
        for held_out in (*group.main_targets, OVERALL) if len(group.main_targets) > 1 else group.main_targets:
            by_name = [_row(frame, line, OUT_OF_DOMAIN, held_out, name) for name in names]
            rows.append(
                [text_cell(line.title), text_cell(held_out or "–"), *(_cell(row, None, line.oracle) for row in by_name)]
            )
    columns = [Column("method", is_number=False), Column("held out", is_number=False)]
    columns += [Column(_ensemble_title(name)) for name in names]
    chosen = frame[(frame["measure"] == OUT_OF_DOMAIN) & frame["method"].isin([line.method for line in lines])]
    notes = [
        "predictions: the average over all masks or heads. masks: one forward pass under the mean of the soft masks "
        "(Section 7.3). weighted: the average weighted by a domain classifier. only X: the mask or head of source X "
        "for all images."
    ]
    notes += [text for line in lines for name in names if (text := in_part(line, name))]
    return Table(
        f"{group.name}-ensembles",
        "Ensembles, out of domain",
        columns,
        rows,
        chosen.reset_index(drop=True),
        notes,
    )


def method_cell(line: Line) -> Cell:
    """Return the cell with a line's name, how its setting was chosen, and whether that was an oracle."""
    setting = f"{line.setting}, " if line.setting != line.label else ""
    if line.oracle:
        return text_cell(line.label, f"{setting}oracle: chosen on the held-out domain", mark="oracle")
    return text_cell(line.label, f"{setting}by {line.rule}" if line.rule else "")


def _cell(row: Row | None, best: float | None, oracle: bool) -> Cell:
    if row is None or is_missing(row["accuracy"]):
        return nothing()
    value = float(row["accuracy"])
    text = f"{100 * value:.2f}"
    if not is_missing(row["deviation"]):
        text += f" ± {100 * row['deviation']:.2f}"
    detail = "" if is_missing(row["low"]) else f"[{100 * row['low']:.1f}, {100 * row['high']:.1f}]"
    if oracle:
        return Cell(f"{text} oracle", value, detail, mark="oracle")
    return Cell(text, value, detail, mark="best" if best is not None and value == best else "")


def _row(
    frame: pd.DataFrame, line: Line, measure: str, held_out: str, ensemble: str = PREDICTION_ENSEMBLE
) -> Row | None:
    chosen = frame[
        (frame["method"] == line.method)
        & (frame["line"] == line.label)
        & (frame["measure"] == measure)
        & (frame["held_out"] == held_out)
        & (frame["ensemble"] == ensemble)
    ]
    return next(iter(rows_of(chosen)), None)


def _best(group: Group, rows: pd.DataFrame) -> float | None:
    """Return the highest accuracy without an oracle; None unless there are several.

    Settings between which the rule could not choose are excluded: taking the best of them would be an oracle, too.
    """
    fair = rows[(rows["ensemble"] == PREDICTION_ENSEMBLE) & ~rows["target_labels_used"] & rows["accuracy"].notna()]
    fair = fair[~fair["line"].isin([line.label for line in group.lines if line.undecided])]
    return float(fair["accuracy"].max()) if len(fair) > 1 else None


def _paper_cells(row: Row | None) -> list[Cell]:
    if row is None or is_missing(row["paper_accuracy"]):
        return [nothing(), nothing()]
    return [percent(float(row["paper_accuracy"]), mark="paper"), points(float(row["difference"]))]


def _chosen(line: Line, target: str) -> Cell:
    label = line.chosen.get(target, "–").removeprefix(f"{line.method}, ")
    return text_cell(f"{label} (oracle)", mark="oracle") if line.oracle else text_cell(label)


def _setting(value: Any) -> Cell:
    if value is None:
        return nothing()
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return number(float(value), "g") if is_number else text_cell(value_text(value))


def _ensemble_title(name: str) -> str:
    return f"only {name.removeprefix(KNOWN_DOMAIN)}" if name.startswith(KNOWN_DOMAIN) else name


def _mean_seconds(line: Line) -> float | None:
    values = [record.results.seconds["training"] for record in line.records if "training" in record.results.seconds]
    return sum(values) / len(values) if values else None


def _mean_epochs(line: Line) -> float | None:
    values = [record.results.best_epoch for record in line.records if record.results.best_epoch is not None]
    return sum(values) / len(values) if values else None


def _mean_iou(line: Line) -> float | None:
    values = [
        site.overall_iou
        for record in line.records
        for site in (record.results.masks or {}).values()
        if site.overall_iou is not None
    ]
    return sum(values) / len(values) if values else None


def _runs(line: Line) -> Cell:
    seeds: Sequence[int] = sorted({record.results.seed for record in line.records})
    return Cell(str(len(line.records)), len(line.records), counted(len(seeds), "seed"))
