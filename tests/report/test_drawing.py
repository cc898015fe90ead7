"""What a panel of the report shows along its axes."""

import re

import pytest

from domain_masks.report.figures.drawing import panel_svg
from domain_masks.report.figures.plots import Panel, Series


@pytest.mark.parametrize("epochs", [1, 2, 3, 40])
def test_epochs_are_whole_numbers(epochs: int) -> None:
    numbers = list(range(1, epochs + 1))
    series = Series(label="loss", x=numbers, y=[float(number) for number in numbers], colour=0)
    drawn = panel_svg(Panel(title="loss", series=(series,), x_label="epoch", y_label="nats"), "loss")
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", drawn)
    below = texts[: texts.index("epoch")]
    assert below
    assert all(re.fullmatch("[0-9]+", text) for text in below)
