from __future__ import annotations

import re
from dataclasses import replace

import pytest

from domain_masks.report.figures import drawing
from domain_masks.report.figures.palette import LIGHT
from domain_masks.report.figures.plots import Panel, Plot, Series
from domain_masks.report.figures.svg import panel_svg

BARS = Series("a", [0.0, 1.0], [0.5, 1.0], 0, kind="bars")
LONG = "a very long name of a domain that no axis has room for, and that goes on and on"
TICKS = ([(0.0, "网" * 40), (1.0, "x" * 40)], [(0.0, "classifier.hidden"), (1.0, "b" * 20)])


@pytest.mark.parametrize("epochs", [1, 2, 3, 40])
def test_epochs_are_whole_numbers(epochs: int) -> None:
    numbers = list(range(1, epochs + 1))
    series = Series(label="loss", x=numbers, y=[float(number) for number in numbers], colour=0)
    drawn = panel_svg(Panel(title="loss", series=(series,), x_label="epoch", y_label="nats"), "loss")
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", drawn)
    below = texts[: texts.index("epoch")]
    assert below
    assert all(re.fullmatch("[0-9]+", text) for text in below)


@pytest.mark.parametrize(
    "panel",
    [
        *(
            Panel("t", "epoch", "IoU", [Series("a", [1.0, 2.0], y, 0)])
            for y in ([0.98, 1.04], [2.4825, 2.4725], [9e5, 9e5 + 1])
        ),
        *(
            Panel(LONG, "site", "IoU", [replace(BARS, kind=kind)], ticks)
            for kind in ("bars", "stacked")
            for ticks in TICKS
        ),
    ],
)
def test_everything_is_within_the_figure(panel: Panel) -> None:
    series = [replace(BARS, label=name) for name in ("网" * 60, "x" * 90, "_short")]
    with drawing.styled(LIGHT):
        for drawn in (
            drawing.drawn_panel(panel, LIGHT),
            drawing.drawn_plot(Plot("n", "T", "c", [panel, replace(panel, series=series)]), LIGHT),
        ):
            drawn.draw_without_rendering()
            box = drawn.get_tightbbox()  # in inches
            width, height = drawn.get_size_inches()
            assert min(box.x0, box.y0) >= -0.02
            assert box.x1 <= width + 0.02
            assert box.y1 <= height + 0.02


def test_the_legend_has_every_name_once() -> None:
    series = [replace(BARS, label=name) for name in ("_amazon", "$x_1$", "mean")]
    panel = Panel("t", "site", "IoU", [*series[:2], replace(series[2], is_mean=True)])
    drawn = drawing.drawn_plot(Plot("n", "T", "c", [panel, panel]), LIGHT)
    assert [text.get_text() for text in drawn.legends[0].get_texts()] == ["_amazon", "$x_1$", "mean"]


def test_points_have_bars_for_their_deviations() -> None:
    series = Series("a", [0.0, 1.0, 2.0], [1.0, None, 3.0], 0, spread=[0.5, 0.5, None], kind="points")
    with drawing.styled(LIGHT):
        (axes,) = drawing.drawn_panel(Panel("t", "method", "points", [series]), LIGHT).axes
    (bars,) = axes.containers
    (segments,) = (collection.get_segments() for collection in bars.lines[2])
    assert [segment.tolist() for segment in segments] == [[[0.0, 0.5], [0.0, 1.5]]]
