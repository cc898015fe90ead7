"""Tables of images: class activation maps and differing channels."""

from __future__ import annotations

from pathlib import Path

from domain_masks.report.explanations import channel_tables, heat_map_table
from references.predictions import generated
from report.made_analysis import SITES, channels, heat_maps

FOLDER = Path("run")


def test_a_row_for_each_image_and_a_column_for_each_mask() -> None:
    predictions = generated()
    table = heat_map_table(FOLDER, heat_maps(predictions), ["sketch", "photo"], "Maps")
    assert table is not None
    assert table.columns == ["image", "ensemble", "photo alone", "art alone", "cartoon alone"]
    assert [row.title for row in table.rows] == ["sketch", "photo"]
    row = table.rows[0]
    assert row.detail == f"predicted {predictions.classes[1]}\nlabel {predictions.classes[0]}"
    assert [image.caption for image in row.images if image] == ["", "25%", *["25%\nno evidence"] * 3]
    assert row.images[0] is not None
    assert row.images[0].is_wrong
    assert row.images[0].path == FOLDER / "small.webp"
    assert "features.18 (a grid of 4 × 4)" in table.caption
    assert heat_map_table(FOLDER, heat_maps(predictions), ["elsewhere"], "Maps") is None


def test_a_table_for_each_pair_that_differs() -> None:
    (table,) = channel_tables(FOLDER, channels(generated()))
    assert table.title == "Units that differ: photo and art"
    assert "1 unit at features.17, 0 units at classifier.1" in table.caption
    assert "(40 of photo)" in table.caption
    (row,) = table.rows
    assert row.title == f"{SITES[0]}, 7"
    assert row.detail == "on in photo, 0.90\noff in art, 0.20"
    assert [image.caption.split("\n")[1] for image in row.images if image] == ["photo", "photo"]
