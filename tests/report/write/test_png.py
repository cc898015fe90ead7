"""Figures as PNG show every name: with underscores, formulas and markup in it, long ones, and in any script."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from PIL import Image

from domain_masks.records.analysis import Confusion
from domain_masks.report.document import Gallery, GalleryImage
from domain_masks.report.figures.palette import LIGHT
from domain_masks.report.figures.plots import Panel, Plot, Series
from domain_masks.report.tables.analysis_tables import confusion_table, run_mask_by_domain_table
from domain_masks.report.tables.table import Cell, Column, Table, text_cell
from domain_masks.report.write import png
from domain_masks.report.write.png import gallery_png, letters_drawn, plot_png, table_png
from report.made_analysis import made_analysis

ODD = ["_amazon", "$x_1$", "50%", "a|b", "caf\udce9", "a\nb", "\u202ex", "\ue000", "网" * 40]


def plot(names):
    series = [Series(name, [0.0, 1.0], [0.5, 1.0], place, kind="bars") for place, name in enumerate(names)]
    return Plot("n", names[0], "c", [Panel(names[0], names[0], "IoU", series, [(0.0, names[0]), (1.0, names[-1])])])


def table(names, is_matrix=False):
    rows = [[text_cell(name, "n = 3"), *(Cell("1", 1.0, heat=0.5) for _ in names)] for name in names]
    columns = [Column("label", is_number=False), *map(Column, names)]
    return Table("t", names[-1], columns, rows, pd.DataFrame(), is_matrix=is_matrix)


def texts(figure):
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


@pytest.mark.parametrize(
    ("write", "shown"),
    [(plot_png, plot(ODD)), (table_png, table(ODD)), (table_png, table(ODD, is_matrix=True))],
    ids=["plot", "table", "matrix"],
)
def test_any_name_is_drawn_without_a_warning(tmp_path, recwarn, write, shown):
    write(shown, tmp_path / "a.png")
    assert not [one for one in recwarn if "Glyph" in str(one.message)]
    image = np.asarray(Image.open(tmp_path / "a.png").convert("L"))
    assert image.std() > 5, "nothing is drawn"


def test_nothing_in_a_name_is_markup():
    with png.styled(LIGHT):
        drawn = png._drawn_table(table(ODD))
    assert {"_amazon\nn = 3", "$x_1$\nn = 3"} <= set(texts(drawn))
    assert not any(text.get_parse_math() for text in drawn.findobj(Text) if "$" in text.get_text())


def test_own_cells_are_framed_and_every_number_is_there():
    analysis = made_analysis()
    with png.styled(LIGHT):
        drawn = png._drawn_table(run_mask_by_domain_table(analysis, "n"))
    written = texts(drawn)
    for row in analysis.mask_by_domain.values():
        for value in row.values():
            assert any(text.startswith(f"{100 * value:.2f}") for text in written)
    frames = [one for one in drawn.axes[0].patches if isinstance(one, Rectangle)]
    middles = {(round(one.get_x() + one.get_width() / 2), round(one.get_y() + one.get_height() / 2)) for one in frames}
    assert middles == {(0, 0), (1, 1), (2, 2)}


def test_a_class_without_images_and_classes_that_are_left_out_are_told():
    analysis = made_analysis()
    counts = Confusion(classes=["cat", "dog"], counts=[[2, 1], [0, 0]], of=9, pairs=[])
    one = analysis.model_copy(update={"confusion": {"sketch": counts}})
    shown = confusion_table(one, "sketch", "n")
    assert "The 2 classes with the most errors, of 9." in shown.notes
    with png.styled(LIGHT):
        assert {"cat", "dog", "2", "1", "0"} <= set(texts(png._drawn_table(shown)))


@pytest.mark.parametrize("count", [2, 21])
def test_a_table_lies_within_its_figure(count):
    names = [f"class {place} of a very long name" for place in range(count)]
    for shown in (table(names), table(names, is_matrix=True)):
        with png.styled(LIGHT):
            drawn = png._drawn_table(shown)
            drawn.draw_without_rendering()
            box = drawn.get_tightbbox()
        width, height = drawn.get_size_inches()
        assert min(box.x0, box.y0) >= -0.05
        assert box.x1 <= width + 0.05
        assert box.y1 <= height + 0.05


def test_galleries_show_every_image_with_its_caption(tmp_path):
    Image.new("RGB", (30, 20), "green").save(tmp_path / "a.webp")
    images = [GalleryImage(tmp_path / "a.webp", str(place), f"dog {place} %\nis cat") for place in range(9)]
    galleries = [Gallery("nearest to photo", images), Gallery("mistakes", images[:1])]
    gallery_png(galleries, tmp_path / "a.png")
    with png.styled(LIGHT):
        drawn = png._drawn_galleries(galleries)
    assert sum(len(axes.images) for axes in drawn.axes) == 10
    assert {"nearest to photo", "mistakes", "dog 8 %\nis cat"} <= set(texts(drawn))


def test_letters_are_those_of_what_is_written():
    assert set("摄像") <= letters_drawn(plot(["摄像"]), table(["x"]))
    assert "像" in letters_drawn([Gallery("像", [])])
