"""Write the figures and tables of one run's analysis into its folder as PNG and CSV."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from domain_masks.records import Analysis, RunFolder
from domain_masks.records.files import as_bytes
from domain_masks.records.run_folder import folder_name
from domain_masks.report.diagnostics import gallery_of
from domain_masks.report.document import Gallery, ImageTable
from domain_masks.report.explanations import channel_tables, heat_map_table
from domain_masks.report.figures.analysis_plots import ablation_plot, ablation_sites, calibration_plot, nearest_plot
from domain_masks.report.figures.feature_plots import feature_plots
from domain_masks.report.figures.fonts import missing_note
from domain_masks.report.figures.mask_plots import active_plot, overlap_plot, probabilities_plot
from domain_masks.report.figures.plots import Plot
from domain_masks.report.figures.training_curves import masks_by_epoch_plot
from domain_masks.report.tables.analysis_frames import analysis_frames
from domain_masks.report.tables.analysis_tables import confusion_table, run_mask_by_domain_table
from domain_masks.report.tables.mask_tables import mask_rows
from domain_masks.report.tables.table import Table, frame_text
from domain_masks.report.write.png import gallery_png, image_table_png, letters_drawn, plot_png, table_png

Drawn = Plot | Table | ImageTable | list[Gallery]
_NO_FONT = "no font that is installed here has"


def draw_analysis(run: Path | str) -> Analysis:
    """Draw the figures and write the tables of a run's ``analysis.json``, replacing those of an earlier analysis.

    Returns the analysis with the names of these files, which are also written to ``analysis.json``. Letters that no installed
    font has are noted. Raises RunFolderError if the run has no readable analysis.
    """
    folder = RunFolder(run)
    analysis = Analysis.read(folder.analysis)
    before, names = set(analysis.figures), []
    drawn = dict(run_figures(folder.path, analysis))
    for name, shown in drawn.items():
        with folder.figure(f"{name}.png") as temporary:
            _write(shown, temporary)
        names.append(f"{name}.png")
    for name, frame in analysis_frames(analysis).items():
        with folder.figure(f"{name}.csv") as temporary:
            temporary.write_bytes(as_bytes(frame_text(frame)))
        names.append(f"{name}.csv")
    folder.remove_figures(before - {*names})
    note = missing_note(letters_drawn(*drawn.values()))
    notes = [*(text for text in analysis.notes if not text.startswith(_NO_FONT)), *([note] if note else [])]
    updated = analysis.model_copy(update={"figures": names, "notes": notes})
    updated.write(folder.analysis)
    return updated


def run_figures(run: Path, analysis: Analysis) -> Iterator[tuple[str, Drawn]]:
    """Yield the stem of the file name and the content of each figure of the analysis."""
    splits = analysis.mask_by_domain_splits
    held_out = [domain for domain, split in splits.items() if split == "held_out"]
    yield "mask_by_domain", run_mask_by_domain_table(analysis, "mask_by_domain")
    if analysis.sites:
        sources = list(next(iter(analysis.sites.values())).activated)
        rows = list(mask_rows(analysis.sites, sources))
        values = {(row["quantity"], row["site"], row["name"]): row["value"] for row in rows}
        yield "overlap", overlap_plot("overlap", "Overlap", "", {"Overlap of hard masks": values})
        yield "activated", active_plot("activated", "Active units", "", {"Active units": values})
        yield "mask_probabilities", probabilities_plot("mask_probabilities", analysis.sites)
    if analysis.epochs and (
        plot := masks_by_epoch_plot("kinds_over_epochs", "Masks over the epochs", [analysis.epochs])
    ):
        yield plot.name, plot
    if analysis.nearest_source:
        yield "nearest_source", nearest_plot("nearest_source", analysis.nearest_source)
    yield from _explanations(run, analysis, held_out)
    yield "calibration", calibration_plot("calibration", analysis.calibration, held_out)
    for domain in held_out or splits:
        suffix = folder_name(domain)
        yield f"confusion-{suffix}", confusion_table(analysis, domain, f"confusion-{suffix}")
        if analysis.ablation is not None:
            titles = {
                f"{domain}: all sites" if site == "all" else f"{domain}: {site}": (domain, site)
                for site in ablation_sites(analysis.ablation)
            }
            if (plot := ablation_plot(f"ablation-{suffix}", analysis.ablation, titles)) is not None:
                yield plot.name, plot
        of_domain = [gallery for gallery in (analysis.galleries or {}).values() if gallery.domain == domain]
        for kind in ("nearest", "mistakes"):
            galleries = [gallery_of(run, gallery) for gallery in of_domain if gallery.kind == kind]
            if shown := [gallery for gallery in galleries if gallery.images]:
                yield f"gallery-{kind}-{suffix}", shown


def _explanations(run: Path, analysis: Analysis, held_out: list[str]) -> Iterator[tuple[str, Drawn]]:
    """Yield what the masks look at: features, differing channels, class activation maps."""
    if analysis.feature_map:
        for plot in feature_plots("features", analysis.feature_map, held_out):
            yield plot.name, plot
    if analysis.channels:
        for place, table in enumerate(channel_tables(run, analysis.channels)):
            if any(image is not None for row in table.rows for image in row.images):
                yield f"channels-{place + 1}", table
    if analysis.heat_maps:
        for domain in analysis.mask_by_domain_splits:
            maps = heat_map_table(run, analysis.heat_maps, [domain], f"{domain}: class activation maps")
            if maps is not None:
                yield f"heat_maps-{folder_name(domain)}", maps


def _write(shown: Drawn, path: Path) -> None:
    if isinstance(shown, Plot):
        plot_png(shown, path)
    elif isinstance(shown, ImageTable):
        image_table_png(shown, path)
    elif isinstance(shown, Table):
        table_png(shown, path)
    else:
        gallery_png(shown, path)
