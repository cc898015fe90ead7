"""Diagnostics of single runs: the results of ``dmg analyze`` as sections of a report."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from domain_masks.records import Analysis
from domain_masks.records.analysis import ImageGallery
from domain_masks.records.collection import RunRecord
from domain_masks.report.document import Block, Gallery, GalleryImage, Paragraph, Section
from domain_masks.report.explanations import channel_tables, heat_map_table
from domain_masks.report.figures.analysis_plots import ablation_plot, ablation_sites, calibration_plot
from domain_masks.report.figures.feature_plots import feature_plots
from domain_masks.report.figures.mask_plots import probabilities_plot
from domain_masks.report.runs.groups import Group
from domain_masks.report.runs.held_out import target_of
from domain_masks.report.tables.analysis_tables import class_table, confusion_table, nearest_table

MOST_RUNS = 24


def diagnostics(group: Group, gallery: bool) -> list[Block]:
    """Return a section for each analyzed run: the first seed of each of a group's lines and held-out domains.

    Runs with an unusable analysis are listed at the end.
    """
    records = [records[0] for line in group.lines for records in line.by_target.values() if records]
    analyzed = [(record, analysis) for record in records if (analysis := group.analysis(record)) is not None]
    blocks: list[Block] = [
        replace(_section(record, analysis, gallery, f"{group.name}-diagnostics-{place + 1}"), folded=len(analyzed) > 1)
        for place, (record, analysis) in enumerate(analyzed[:MOST_RUNS])
    ]
    problems = [problem for record in records if (problem := group.analyses[id(record)].problem)]
    if len(analyzed) > MOST_RUNS:
        problems.append(f"{len(analyzed) - MOST_RUNS} further analyses are not shown: report their runs one by one")
    return [*blocks, *([Paragraph("Not used:", problems, tone="warning")] if problems else [])]


def gallery_of(folder: Path, gallery: ImageGallery) -> Gallery:
    """Return a gallery of a run with the images that have a thumbnail."""
    images = []
    for item in gallery.items:
        if item.thumbnail is None:
            continue
        votes = [(source, f"{vote.class_name} {100 * vote.probability:.0f} %") for source, vote in item.votes.items()]
        is_wrong = item.predicted != item.label
        caption = f"{item.predicted} {100 * item.confidence:.0f} %" + (f"\nis {item.label}" if is_wrong else "")
        images.append(GalleryImage(folder / item.thumbnail, item.id, caption, votes, is_wrong))
    return Gallery(gallery.title, images)


def _section(record: RunRecord, analysis: Analysis, gallery: bool, anchor: str) -> Section:
    blocks = list(_blocks(analysis, record.results.targets, anchor))
    if gallery:
        galleries = (gallery_of(record.folder.path, stored) for stored in (analysis.galleries or {}).values())
        blocks += [shown for shown in galleries if shown.images]
        blocks += list(_explanations(record, analysis))
    if analysis.notes:
        blocks.append(Paragraph("Not included:", analysis.notes, tone="note"))
    title = f"{record.results.method}, {target_of(record) or 'nothing'} held out, seed {record.results.seed}"
    return Section(title, anchor, blocks)


def _explanations(record: RunRecord, analysis: Analysis) -> Iterator[Block]:
    folder, targets = record.folder.path, record.results.targets
    if analysis.heat_maps is not None:
        domains = dict.fromkeys([*targets, *analysis.mask_by_domain_splits])
        table = heat_map_table(folder, analysis.heat_maps, list(domains), "Class activation maps")
        yield from [table] if table is not None else []
    if analysis.channels is not None:
        yield from channel_tables(folder, analysis.channels)


def _blocks(analysis: Analysis, targets: list[str], name: str) -> Iterator[Block]:
    if (table := nearest_table(analysis, name)) is not None:
        yield table
    if analysis.sites:
        yield probabilities_plot(f"{name}-probabilities", analysis.sites)
    if analysis.ablation is not None and (sites := ablation_sites(analysis.ablation)):
        domains = sorted(analysis.ablation.split, key=lambda domain: domain not in targets)
        where = "at all sites" if sites[0] == "all" else f"at {sites[0]}"
        titles = {f"{domain}{' (held out)' if domain in targets else ''}": (domain, sites[0]) for domain in domains}
        if (plot := ablation_plot(f"{name}-ablation", analysis.ablation, titles)) is not None:
            yield replace(plot, title=f"{plot.title}, {where}")
    if analysis.feature_map is not None:
        yield from feature_plots(f"{name}-features", analysis.feature_map, targets)
    if analysis.calibration:
        yield calibration_plot(f"{name}-calibration", analysis.calibration, targets)
    for place, domain in enumerate(analysis.confusion):
        if domain in targets:
            yield confusion_table(analysis, domain, f"{name}-confusion-{place + 1}")
    if (table := class_table(analysis, name)) is not None:
        yield table
