"""Figures, shaded tables and galleries as PNG in the light theme."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from domain_masks.records.names import shortened
from domain_masks.report.document import Gallery, GalleryImage, ImageTable
from domain_masks.report.figures.drawing import LETTERS_PER_INCH, drawn_plot, styled
from domain_masks.report.figures.fonts import families, letters_of
from domain_masks.report.figures.palette import LIGHT
from domain_masks.report.figures.plots import Plot
from domain_masks.report.tables.table import Table

DPI = 150
ACROSS = 8
"""Images in a row of a gallery."""
MANY = 20
"""Number of rows of a matrix above which its font is smaller."""
_HEAT = LinearSegmentedColormap.from_list("heat", ["#0b62a800", "#0b62a86b"])
"""As on the page: up to 42 % opacity, so that text stays readable."""


def plot_png(plot: Plot, path: Path) -> None:
    """Write all panels of a plot and their legend."""
    with styled(LIGHT, **{"font.family": families(letters_drawn(plot))}):
        drawn_plot(plot, LIGHT).savefig(path, format="png", dpi=DPI)


def table_png(table: Table, path: Path) -> None:
    """Write a table with shaded cells; a domain under its own mask is framed."""
    with styled(LIGHT, **{"font.family": families(letters_drawn(table)), "axes.grid": False}):
        _drawn_table(table).savefig(path, format="png", dpi=DPI)


def gallery_png(galleries: Sequence[Gallery], path: Path) -> None:
    """Write galleries in rows of ``ACROSS`` images with captions."""
    with styled(LIGHT, **{"font.family": families(letters_drawn(galleries)), "axes.grid": False}):
        _drawn_galleries(galleries).savefig(path, format="png", dpi=DPI)


def image_table_png(table: ImageTable, path: Path) -> None:
    """Write images in rows and columns, with their captions."""
    with styled(LIGHT, **{"font.family": families(letters_drawn(table)), "axes.grid": False}):
        _drawn_images(table).savefig(path, format="png", dpi=DPI)


def letters_drawn(*shown: Plot | Table | ImageTable | Sequence[Gallery]) -> frozenset[str]:
    """Return the letters of all text in the figures."""
    texts: list[Any] = []
    for block in shown:
        if isinstance(block, Table):
            texts.append((block.title, block.columns, block.rows))
        elif isinstance(block, Plot):
            texts.append((block.panels, block.legend))
        elif isinstance(block, ImageTable):
            captions = [image.caption for row in block.rows for image in row.images if image is not None]
            texts.append((block.title, block.columns, [(row.title, row.detail) for row in block.rows], captions))
        else:
            texts.append([(gallery.title, [image.caption for image in gallery.images]) for gallery in block])
    return letters_of(texts)


def _drawn_table(table: Table) -> Figure:
    columns = table.columns[1:]
    size = 5 if table.is_matrix and len(table.rows) > MANY else 8
    across, down = (0.055 * size, 0.05 * size) if table.is_matrix else (1.05, 0.4)
    drawn = Figure(figsize=(2.6 + across * len(columns), 1.3 + down * len(table.rows)), layout="constrained")
    axes = drawn.add_subplot()
    heat = np.array([[np.nan if cell.heat is None else cell.heat for cell in row[1:]] for row in table.rows])
    axes.imshow(heat, cmap=_HEAT, vmin=0, vmax=1, aspect="auto")
    for y, row in enumerate(table.rows):
        for x, cell in enumerate(row[1:]):
            detail = f"\n{cell.detail}" if cell.detail and not table.is_matrix else ""
            weight = "bold" if cell.mark in ("own", "best") else "normal"
            axes.text(x, y, cell.text + detail, ha="center", va="center", fontsize=size, fontweight=weight)
            if cell.mark == "own":
                frame = Rectangle(
                    (x - 0.46, y - 0.46), 0.92, 0.92, fill=False, edgecolor=LIGHT.series[1], linewidth=1.5
                )
                axes.add_patch(frame)
    slanted: dict[str, Any] = {"rotation": 45, "ha": "left", "rotation_mode": "anchor"} if table.is_matrix else {}
    axes.xaxis.tick_top()
    axes.set_xticks(
        range(len(columns)), [_named(column.title, column.detail) for column in columns], fontsize=size, **slanted
    )
    axes.set_yticks(range(len(table.rows)), [_named(row[0].text, row[0].detail) for row in table.rows], fontsize=size)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    drawn.suptitle(
        shortened(table.title, int(drawn.get_figwidth() * LETTERS_PER_INCH)),
        x=0.01,
        ha="left",
        fontsize=9.5,
        weight="bold",
    )
    return drawn


def _drawn_images(table: ImageTable) -> Figure:
    across = max(len(row.images) for row in table.rows)
    drawn = Figure(figsize=(2.1 + 1.2 * across, 0.6 + 1.5 * len(table.rows)), layout="constrained")
    grid = drawn.subplots(len(table.rows), across + 1, squeeze=False, width_ratios=[1.6, *[1.0] * across])
    for place, (row, line) in enumerate(zip(table.rows, grid, strict=True)):
        for axes in line:
            axes.set_axis_off()
        said = "\n".join(shortened(part, 26) for part in (row.title, *row.detail.split("\n")) if part)
        line[0].text(1.0, 0.5, said, transform=line[0].transAxes, ha="right", va="center", fontsize=7)
        for axes, image in zip(line[1:], row.images, strict=False):
            if image is None or not image.path.is_file():
                continue
            axes.imshow(np.asarray(Image.open(image.path)))
            caption = "\n".join(shortened(part, 18) for part in image.caption.split("\n"))
            axes.text(0.5, -0.04, caption, transform=axes.transAxes, ha="center", va="top", fontsize=6.5)
        if place == 0:
            for axes, name in zip(line[1:], table.columns, strict=False):
                axes.set_title(shortened(name, 18), fontsize=7.5)
    drawn.suptitle(shortened(table.title, 100), x=0.01, ha="left", fontsize=9.5, weight="bold")
    return drawn


def _named(name: str, detail: str) -> str:
    return "\n".join(part for part in (shortened(name), detail) if part)


def _drawn_galleries(galleries: Sequence[Gallery]) -> Figure:
    rows: list[tuple[str, Sequence[GalleryImage]]] = []
    for gallery in galleries:
        for start in range(0, len(gallery.images), ACROSS):
            rows.append((gallery.title if start == 0 else "", gallery.images[start : start + ACROSS]))
    drawn = Figure(figsize=(1.15 * ACROSS, 0.4 + 1.5 * len(rows)), layout="constrained")
    grid = drawn.subplots(len(rows), ACROSS, squeeze=False)
    for (name, images), line in zip(rows, grid, strict=True):
        for axes in line:
            axes.set_axis_off()
        for axes, image in zip(line, images, strict=False):
            axes.imshow(np.asarray(Image.open(image.path)))
            caption = "\n".join(shortened(part, 18) for part in image.caption.split("\n"))
            axes.text(0.5, -0.04, caption, transform=axes.transAxes, ha="center", va="top", fontsize=6.5)
        # Only an empty title takes part in the layout: the title itself would widen the first column.
        line[0].set_title(" ")
        line[0].text(0.0, 1.06, shortened(name, 100), transform=line[0].transAxes).set_in_layout(False)
    return drawn
