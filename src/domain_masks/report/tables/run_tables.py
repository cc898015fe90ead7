"""The section on single runs: a table, details of each, and the runs that could not be used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import pandas as pd

from domain_masks.errors import DomainMasksError
from domain_masks.evaluation import variants
from domain_masks.records.collection import Collection, RunRecord
from domain_masks.records.files import printable, read_json
from domain_masks.records.results import MEASURE_TITLES
from domain_masks.report.document import Block, KeyValues, Paragraph, Section
from domain_masks.report.runs.accuracies import accuracies_of
from domain_masks.report.runs.held_out import target_of
from domain_masks.report.runs.naming import value_text
from domain_masks.report.tables.table import Cell, Column, Table, number, percent, text_cell

MOST_DETAILS = 60
"""Number of runs with details, to limit the length of the page; their records have them all."""


def runs_section(collection: Collection) -> Section:
    """Return the section with all finished, failed, unfinished and unreadable runs and their folders."""
    blocks: list[Block] = []
    for entries, title in (
        (collection.failed, "Failed runs:"),
        (collection.skipped, "Unusable records:"),
    ):
        if entries:
            blocks.append(Paragraph(title, list(map(str, entries)), tone="warning"))
    if collection.unfinished:
        blocks.append(Paragraph("Unfinished runs:", [str(path) for path in collection.unfinished], tone="note"))
    if collection.runs:
        labels = _labels(collection.runs)
        blocks.append(_runs_table(collection.runs, labels))
        blocks += [_details(record, labels, place) for place, record in enumerate(collection.runs[:MOST_DETAILS])]
        if len(collection.runs) > MOST_DETAILS:
            blocks.append(
                Paragraph(
                    f"Details are shown for {MOST_DETAILS} of {len(collection.runs):,} runs; the records of the others are in "
                    "their folders."
                )
            )
    else:
        blocks.append(Paragraph("No finished run.", tone="warning"))
    return Section("Runs", "runs", blocks)


def _labels(runs: Sequence[RunRecord]) -> dict[int, str]:
    """Return the id of a run -> its method, with the settings that differ between the method's runs on its dataset."""
    datasets: dict[tuple[str, str | None], list[RunRecord]] = {}
    for record in runs:
        datasets.setdefault((record.results.dataset, record.content), []).append(record)
    labels = {id(record): record.results.method for record in runs}
    for records in datasets.values():
        labels |= {id(record): variant.label for variant in variants(records) for record in variant.records}
    return labels


def _runs_table(runs: Sequence[RunRecord], labels: Mapping[int, str]) -> Table:
    rows, flat = [], []
    for record in runs:
        results = record.results
        values = {m: measured.accuracy if (measured := accuracies_of(record, m)) else None for m in MEASURE_TITLES}
        seconds = results.seconds.get("training")
        rows.append(
            [
                text_cell(str(record.folder.path)),
                text_cell(labels[id(record)]),
                text_cell(target_of(record) or "–"),
                Cell(str(results.seed), results.seed),
                *(percent(value) for value in values.values()),
                number(results.best_epoch, "d"),
                number(seconds, ".0f"),
            ]
        )
        flat.append(
            {
                "folder": printable(str(record.folder.path)),
                "dataset": results.dataset,
                "backbone": results.backbone,
                "method": results.method,
                "setting": labels[id(record)],
                "held_out": target_of(record),
                "seed": results.seed,
                **values,
                "epochs_run": results.epochs_run,
                "best_epoch": results.best_epoch,
                **{f"seconds_{name}": value for name, value in results.seconds.items()},
            }
        )
    columns = [
        Column("folder", is_number=False),
        Column("method", is_number=False),
        Column("held out", is_number=False),
    ]
    columns += [
        Column("seed"),
        *(Column(title) for title in MEASURE_TITLES.values()),
        Column("best epoch"),
        Column("training, s"),
    ]
    frame = pd.DataFrame(flat).astype(dict.fromkeys(("seed", "epochs_run", "best_epoch"), "Int64"))
    return Table("runs", "All finished runs", columns, rows, frame, folded=len(runs) > 12)


def _details(record: RunRecord, labels: Mapping[int, str], place: int) -> Section:
    results = record.results
    environment: dict[str, Any] = {}
    with suppress(DomainMasksError):
        environment = read_json(record.folder.environment)
    pairs = [("folder", str(record.folder.path)), ("sources", ", ".join(results.sources))]
    pairs += [(f"time for {name}", f"{value:.1f} s") for name, value in results.seconds.items()]
    if results.average is not None:
        pairs.append(("weights", results.average.in_words()))
    if (nearest := results.nearest_source) is not None:
        correct = f"correct on {100 * nearest.accuracy:.1f} % of the sources' own {nearest.split} images"
        pairs.append(("nearest source", f"by the {nearest.by}, {correct}"))
    argv = environment.get("argv")
    if isinstance(argv, list) and argv:
        pairs.append(("command", " ".join(["dmg", *map(str, argv[1:])])))
    pairs += [(name, str(environment[name])) for name in ("started", "platform", "python") if name in environment]
    packages = environment.get("packages")
    if isinstance(packages, dict):
        named = [f"{name} {packages[name]}" for name in ("domain-masks", "torch", "torchvision") if name in packages]
        pairs.append(("packages", ", ".join(named)))
    pairs += [(name, value_text(value)) for name, value in record.config.items() if name != "method"]
    pairs += [(f"method.{name}", value_text(value)) for name, value in record.method_settings.items()]
    title = f"{labels[id(record)]}, {target_of(record) or 'nothing'} held out, seed {results.seed}"
    return Section(title, f"run-{place + 1}", [KeyValues(pairs)], folded=True)
