"""Galleries as one figure each: thumbnails in rows, with what was said about them."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from domain_masks.analysis.style import INK, figure, styled
from domain_masks.records.analysis import Gallery, GalleryItem
from domain_masks.records.names import shortened

ACROSS = 8
_LONGEST = 14


@styled
def sheet(galleries: Sequence[Gallery], thumbnails: Mapping[str, bytes]) -> Figure | None:
    """Draw galleries below each other, rows of ``ACROSS`` images; None where there is no thumbnail (id -> WebP) at all."""
    rows: list[tuple[str, list[GalleryItem]]] = []
    for gallery in galleries:
        items = [item for item in gallery.items if item.id in thumbnails]
        for start in range(0, len(items), ACROSS):
            rows.append((gallery.title if start == 0 else "", items[start : start + ACROSS]))
    if not rows:
        return None
    drawn, axes = figure(1.15 * ACROSS, 0.4 + 1.5 * len(rows), len(rows), ACROSS)
    for index, (name, items) in enumerate(rows):
        line = axes[index * ACROSS : (index + 1) * ACROSS]
        for place in line:
            place.set_axis_off()
        for place, item in zip(line, items, strict=False):
            place.imshow(np.asarray(Image.open(io.BytesIO(thumbnails[item.id]))))
            place.text(
                0.5, -0.04, _caption(item), transform=place.transAxes, ha="center", va="top", fontsize=6.5, color=INK
            )
        # The title itself stays out of the layout, which would make the first column wider: an empty one keeps its place.
        line[0].set_title(" ", fontsize=9)
        line[0].text(0.0, 1.06, shortened(name, 100), transform=line[0].transAxes, fontsize=9, color=INK).set_in_layout(
            False
        )
    return drawn


def _caption(item: GalleryItem) -> str:
    sure = f"{100 * item.confidence:.0f} %"
    label, predicted = (shortened(name, _LONGEST) for name in (item.label, item.predicted))
    if item.label == item.predicted:
        return f"{label} ({sure})"
    return f"{predicted} ({sure})\nis {label}"
