"""Build a report from the records of runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import PurePath
from typing import Any

import pandas as pd

from domain_masks.evaluation.selection_rules import ORACLE, RULES_IN_WORDS, SOURCE_VALIDATION
from domain_masks.keywords import named_keywords
from domain_masks.records.collection import Collection, RunRecord
from domain_masks.records.counts import counted
from domain_masks.records.results import MEASURE_TITLES
from domain_masks.report.diagnostics import diagnostics
from domain_masks.report.document import Block, Highlight, KeyValues, Paragraph, Report, Section
from domain_masks.report.figures.group_figures import mask_figures, training_figures
from domain_masks.report.figures.sweep_plots import sweep_figures
from domain_masks.report.runs.accuracies import accuracies_of, summary
from domain_masks.report.runs.groups import Group, groups_of, protocol_of
from domain_masks.report.runs.held_out import target_of
from domain_masks.report.runs.naming import value_text
from domain_masks.report.tables.accuracy_tables import (
    by_domain,
    by_target,
    chosen_settings,
    ensembles,
    every_setting,
    side_by_side,
)
from domain_masks.report.tables.findings import findings, findings_table, headline
from domain_masks.report.tables.mask_tables import mask_by_domain_tables, mask_frame, mask_table
from domain_masks.report.tables.metric_tables import metric_tables
from domain_masks.report.tables.paper_tables import comparison, published_section
from domain_masks.report.tables.run_tables import runs_section
from domain_masks.report.tables.search_tables import searches_section
from domain_masks.report.tables.significance import pairs, significance
from domain_masks.report.tables.sweep_tables import sweep_frame, sweep_table, sweeps_of
from domain_masks.report.tables.table import Table


@named_keywords
def build_report(collection: Collection, rule: str = SOURCE_VALIDATION, gallery: bool = True) -> Report:
    """Return the report of all runs of a collection.

    - ``rule``: how the setting of a method is chosen if several were run; see :mod:`domain_masks.evaluation.selection`
    - ``gallery``: whether to include images

    Unusable records do not raise an error; they are listed in the report.
    """
    groups = groups_of(collection.runs, rule)
    frames = [summary(group) for group in groups]
    single = len(collection.runs) == 1
    sections: list[Section] = []
    for group, frame in zip(groups, frames, strict=True):
        sections += _group_sections(group, frame, gallery, alone=len(groups) == 1)
    if (published := published_section(groups, frames)) is not None:
        sections.append(published)
    if (search := searches_section(collection.searches)) is not None:
        sections.append(search)
    sections.append(runs_section(collection))
    return Report(
        _title(collection.runs, groups),
        _subtitle(collection, groups),
        headline(groups[0], frames[0]) if groups and not single else _single_headline(collection.runs),
        sections,
        [*_left_out(collection), *(problem for group in groups for problem in group.problems)],
    )


def _title(runs: Sequence[RunRecord], groups: Sequence[Group]) -> str:
    if not runs:
        return "No finished run"
    if len(runs) == 1:
        results = runs[0].results
        return f"{results.method} on {results.dataset}, {target_of(runs[0]) or 'nothing'} held out"
    methods = list(dict.fromkeys(record.results.method for record in runs))
    datasets = list(dict.fromkeys(group.dataset for group in groups))
    return f"{', '.join(methods)} on {', '.join(datasets)}"


def _subtitle(collection: Collection, groups: Sequence[Group]) -> str:
    parts = [counted(len(collection.runs), "finished run")]
    if collection.failed:
        parts.append(f"{len(collection.failed)} failed")
    if collection.unfinished:
        parts.append(f"{len(collection.unfinished)} unfinished")
    if collection.skipped:
        parts.append(f"{len(collection.skipped)} unreadable")
    return ", ".join(parts) + (f" · {groups[0].title}" if len(groups) == 1 else f" · {len(groups)} protocols")


def _single_headline(runs: Sequence[RunRecord]) -> list[Highlight]:
    highlights = []
    for record in runs[:1]:
        for measure, title in MEASURE_TITLES.items():
            accuracies = accuracies_of(record, measure)
            if accuracies is not None:
                domains = ", ".join(accuracies.per_domain)
                highlights.append(
                    Highlight(f"{100 * accuracies.accuracy:.2f} %", title, f"{accuracies.split}: {domains}")
                )
    return highlights


def _left_out(collection: Collection) -> list[str]:
    warnings = []
    for entries, state in ((collection.failed, "failed"), (collection.skipped, "cannot be read")):
        if entries:
            warnings.append(f"{counted(len(entries), 'run')} {state}: see Runs")
    if collection.unfinished:
        count = len(collection.unfinished)
        warnings.append(f"{count} run{'s are' if count != 1 else ' is'} not finished and not counted: see Runs")
    return warnings


def _group_sections(group: Group, frame: pd.DataFrame, gallery: bool, alone: bool) -> Iterator[Section]:
    prefix = "" if alone else f"{group.title}: "
    sweeps = sweeps_of(group)
    sweep_frames = [sweep_frame(group, sweep) for sweep in sweeps]
    shown_findings = findings_table(group, findings(group, list(zip(sweeps, sweep_frames, strict=True))))
    yield Section(
        f"{prefix}Results",
        f"{group.name}-results",
        [
            *([side_by_side(group, frame)]),
            *([shown_findings] if shown_findings is not None else []),
            *_optional(chosen_settings(group)),
        ],
    )
    yield Section(f"{prefix}Protocol", f"{group.name}-protocol", list(_protocol(group)))
    tested = pairs(group)
    # With one held-out domain the tables by domain would repeat the one above.
    blocks: list[Block] = (
        [by_target(group, frame, m) for m in MEASURE_TITLES if (frame["measure"] == m).any()]
        if len(group.main_targets) > 1
        else [by_domain(group)]
    )
    blocks += _optional(
        ensembles(group, frame), significance(group, tested), significance(group, tested, by_domain=True)
    )
    yield Section(
        f"{prefix}{'By held-out domain' if len(group.main_targets) > 1 else 'By domain'}",
        f"{group.name}-domains",
        blocks,
    )
    if tables := metric_tables(group):
        yield Section(f"{prefix}Beyond accuracy", f"{group.name}-metrics", tables)
    if sweeps:
        swept: list[Block] = [
            figure
            for sweep, sweep_values in zip(sweeps, sweep_frames, strict=True)
            for figure in sweep_figures(group, sweep, sweep_values)
        ]
        swept += [sweep_table(group, sweep_frames), *_optional(every_setting(group))]
        yield Section(f"{prefix}Sweeps", f"{group.name}-sweeps", swept)
    elif group.is_swept:
        yield Section(f"{prefix}Settings", f"{group.name}-sweeps", _optional(every_setting(group)))
    masks = mask_frame(group)
    shown_lines = (*group.lines, *group.published)
    mask_tables = [table for line in shown_lines for table in mask_by_domain_tables(group, line)]
    if len(masks) or mask_tables:
        learned = [*mask_figures(group, masks), *mask_tables, *_optional(mask_table(group, masks))]
        yield Section(f"{prefix}What the masks learned", f"{group.name}-masks", learned)
    if curves := list(training_figures(group)):
        yield Section(f"{prefix}Training curves", f"{group.name}-training", curves)
    if run_sections := diagnostics(group, gallery):
        yield Section(f"{prefix}Diagnostics", f"{group.name}-diagnostics", run_sections)


def _optional(*tables: Table | None) -> list[Block]:
    return [table for table in tables if table is not None]


def _protocol(group: Group) -> Iterator[Block]:
    record = group.records[0]
    methods = dict.fromkeys(record.results.method for record in group.records)
    pairs = [
        (
            "methods",
            ", ".join(
                f"{name} ({sum(v.method == name for v in group.variants)} settings)"
                if sum(v.method == name for v in group.variants) > 1
                else name
                for name in methods
            ),
        ),
        ("held out", "; ".join(target or "nothing" for target in group.targets)),
        ("seeds", ", ".join(map(str, group.seeds))),
        ("epoch chosen by", "; ".join(dict.fromkeys(r.results.protocol.selection for r in group.records))),
        (
            "setting chosen by",
            _rule_in_words(group),
        ),
        (
            "labels of the held-out domain",
            "used, see the red rows" if any(line.oracle for line in group.lines) else "used only for evaluation",
        ),
    ]
    pairs += [
        (name, _short(name, value))
        for name, value in protocol_of(record).items()
        if value is not None and name != "held_out"
    ]
    shared = (
        "batch",
        "optimizer",
        "lr",
        "lr_masks",
        "weight_decay",
        "schedule",
        "schedule_masks",
        "average",
        "sites",
        "precision",
    )
    for name in shared:
        values = dict.fromkeys(value_text(r.config.get(name)) for r in group.records)
        if any(value != "none" for value in values):
            pairs.append((name, "; ".join(values)))
    for measure, title in MEASURE_TITLES.items():
        accuracies = accuracies_of(record, measure)
        if accuracies is not None:
            pairs.append((f"{title}, measured on", f"{accuracies.split} images"))
    yield KeyValues(pairs)
    if group.rule == ORACLE and group.is_swept:
        yield Paragraph(
            "oracle: settings were chosen by their accuracy on the held-out domain itself. These numbers are an "
            "upper bound, not an estimate of the accuracy on an unlabelled domain.",
            tone="warning",
        )
    yield Section("Comparison with the paper", f"{group.name}-comparison", comparison(group))


def _rule_in_words(group: Group) -> str:
    if not group.is_swept:
        return "every method was run with one setting"
    undecided = dict.fromkeys(line.method for line in group.lines if line.undecided)
    missing = f"; not chosen for {', '.join(undecided)}, see above" if undecided else ""
    return f"{group.rule}: {RULES_IN_WORDS[group.rule]}{missing}"


def _short(name: str, value: Any) -> str:
    """Return a setting as text; a file only by its name, since its path is listed with each run."""
    return PurePath(value).name if name == "weights" and isinstance(value, str) else value_text(value)
