import re
from dataclasses import replace
from xml.etree import ElementTree

from domain_masks.report.figures.plots import Panel, Plot, Series
from domain_masks.report.figures.svg import panel_svg, plot_svg


def test_a_figure_takes_its_colours_from_the_page():
    panel = Panel("<b> title", "x", "y", [Series("a", [0, 1], [1.0, None], 0), Series("_b", [0, 1], [1.0, 2.0], 1)])
    figure = Plot(
        "f",
        "title",
        "caption",
        [panel, Panel("other", "x", "y", [replace(one, kind="bars") for one in panel.series], [(0, "p"), (1, "q")])],
    )
    text = panel_svg(panel, "what")
    assert "var(--text)" in text
    assert "var(--series-0)" in text
    assert "&lt;b&gt; title" in text
    assert "<style" not in text
    root = ElementTree.fromstring(plot_svg(figure))
    assert {"_b", "a"} <= {element.text for element in root.iter("{http://www.w3.org/2000/svg}text")}


def test_ids_of_two_figures_do_not_meet():
    texts = [panel_svg(Panel(title, "x", "y", [Series("a", [0, 1], [1.0, 2.0], 0)]), title) for title in "ab"]
    ids = [set(re.findall(r' id="([^"]+)"', text)) for text in texts]
    assert all(ids)
    assert not ids[0] & ids[1]
    for text, own in zip(texts, ids, strict=True):
        assert set(re.findall(r"#(p[\w-]+)", text)) <= own
