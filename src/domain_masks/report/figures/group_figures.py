"""The figures of a group of runs: masks and training curves of each line, averaged over seeds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import pandas as pd

from domain_masks.errors import DomainMasksError
from domain_masks.records.analysis import SiteEpoch
from domain_masks.records.collection import RunRecord
from domain_masks.records.metrics_log import site_epochs
from domain_masks.report.figures.mask_plots import MaskValues, active_plot, kinds_plot, overlap_plot
from domain_masks.report.figures.plots import Plot
from domain_masks.report.figures.training_curves import masks_by_epoch_plot, training_plot
from domain_masks.report.runs.groups import Group
from domain_masks.report.runs.naming import file_name
from domain_masks.report.tables.table import rows_of


def mask_figures(group: Group, frame: pd.DataFrame) -> Iterator[Plot]:
    """Yield overlap, active units (Figure 4) and units by kind of every line with masks.

    - ``frame``: from :func:`~domain_masks.report.tables.mask_tables.mask_frame`
    """
    for line in group.lines:
        by_target = {
            target: values
            for target in group.main_targets
            if (values := _values(frame[(frame["line"] == line.label) & (frame["held_out"] == target)]))
        }
        if not by_target:
            continue
        panels = {f"{target or 'nothing'} held out": values for target, values in by_target.items()}
        about = f"Hard masks (m > 0.5) of {line.title}, mean over seeds."
        name = file_name(line.label)
        yield overlap_plot(
            f"{group.name}-iou-{name}",
            f"Overlap of the masks: {line.title}",
            f"{about} Pairs of source domains, and their mean; the paper's Figure 4.",
            panels,
            line.oracle,
        )
        yield active_plot(
            f"{group.name}-activated-{name}",
            f"Active units: {line.title}",
            f"{about} The fraction of units that each source's mask leaves active, and its average; the paper's Figure 4.",
            panels,
            line.oracle,
        )
        if (frame[frame["line"] == line.label]["quantity"] == "kinds").any():
            yield kinds_plot(
                f"{group.name}-kinds-{name}",
                f"Units by kind: {line.title}",
                "Units that are inactive in the masks of all sources, active in all (shared) or in some (specific); hard "
                "masks, mean over seeds.",
                by_target,
                line.oracle,
            )


def training_figures(group: Group) -> Iterator[Plot]:
    """Yield loss, validation accuracy, overlap and kinds of units over the epochs, mean over held-out domains and seeds."""
    metrics = {line.label: [_metrics(record) for record in line.records] for line in group.lines}
    titled = {line.title: metrics[line.label] for line in group.lines}
    is_oracle = any(line.oracle for line in group.lines)
    if (plot := training_plot(f"{group.name}-training", titled, is_oracle)) is not None:
        yield plot
    for line in group.lines:
        name = f"{group.name}-masks-by-epoch-{file_name(line.label)}"
        epochs = [_epochs(group, record, rows) for record, rows in zip(line.records, metrics[line.label], strict=True)]
        if (plot := masks_by_epoch_plot(name, f"Masks over the epochs: {line.title}", epochs, line.oracle)) is not None:
            yield plot


def _values(frame: pd.DataFrame) -> MaskValues:
    means = frame.groupby(["quantity", "site", "name"], sort=False)["value"].mean().reset_index()
    return {(row["quantity"], row["site"], row["name"]): row["value"] for row in rows_of(means)}


def _epochs(group: Group, record: RunRecord, metrics: Sequence[Mapping[str, Any]]) -> Sequence[SiteEpoch]:
    """Return the mask statistics of each epoch from the analysis or the metrics; empty if the metrics are malformed."""
    analysis = group.analysis(record)
    if analysis is not None and analysis.epochs is not None:
        return analysis.epochs
    with suppress(DomainMasksError):
        return site_epochs(metrics)
    return []


def _metrics(record: RunRecord) -> list[dict[str, Any]]:
    with suppress(DomainMasksError):
        return [dict(row) for row in record.metrics()]
    return []
