"""Figures show every name: with underscores, formulas and markup in it, long ones, and in any script that a font here has."""

from __future__ import annotations

import io
import itertools

import numpy as np
import pytest
from matplotlib import font_manager
from matplotlib.text import Text
from PIL import Image

from domain_masks.analysis import fonts, mask_figures, prediction_figures, style
from domain_masks.records import names
from domain_masks.records.analysis import Confusion, Histogram, NearestSource, SiteAnalysis
from domain_masks.records.results import DOMAIN_CLASSIFIER, NearestAccuracy, NeuronKinds

NAMES = ["_amazon", "$x_1$", "50%", "a|b", "<b>&", "x_y", "=1+2"]
LONG = "a very long name of a domain that no axis has room for, and that goes on and on"


def written(figure):
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def nearest(called):
    share = {name: 1 / len(called) for name in called}
    return NearestSource(
        rule="r",
        right=NearestAccuracy(by=DOMAIN_CLASSIFIER, split="test", accuracy=0.75),
        rules={},
        domains=dict.fromkeys(called, share),
        images=dict.fromkeys(called, 12),
        agreement={},
        accuracy={},
        best_single={},
        test={},
    )


def sites(called):
    counts = {name: [1, 2, 3, 4] for name in called}
    pairs = {f"{first}|{second}": 0.5 for first, second in itertools.pairwise(called)}
    site = SiteAnalysis(
        neurons=10,
        kinds=NeuronKinds(off=0.0, shared=1.0, specific=0.0),
        pairwise_iou=pairs,
        activated=dict.fromkeys(called, 0.5),
        probabilities=Histogram(edges=[0, 0.25, 0.5, 0.75, 1], counts=counts),
    )
    return {"classifier": site}


def confusion(called):
    return Confusion(classes=called, counts=np.eye(len(called), dtype=int).tolist(), of=len(called), pairs=[])


def legends(figure):
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def test_names_that_begin_with_an_underscore_are_in_the_legends():
    assert legends(prediction_figures.nearest_figure(nearest(NAMES))) == NAMES
    assert legends(mask_figures.probabilities_figure(sites(NAMES))) == NAMES


def test_nothing_in_a_name_is_markup():
    for figure in (
        prediction_figures.nearest_figure(nearest(NAMES)),
        prediction_figures.confusion_figure(confusion(NAMES), "$d$"),
        mask_figures.overlap_figure(sites(NAMES)),
        mask_figures.probabilities_figure(sites(NAMES)),
    ):
        figure.savefig(io.BytesIO(), format="png")
        assert not any(text.get_parse_math() for text in figure.findobj(Text) if "$" in text.get_text())
    shown = written(prediction_figures.confusion_figure(confusion(NAMES), "$d$"))
    assert "Images of $d$ by label and prediction" in shown
    assert {f"{name} (1)" for name in NAMES} <= set(shown)
    assert "x_y – =1+2" in written(mask_figures.overlap_figure(sites(NAMES)))
    assert "50% – a|b" in written(mask_figures.overlap_figure(sites(NAMES)))


@pytest.mark.parametrize("count", [2, 9])
def test_titles_lie_within_the_figure(count):
    called = [f"class {place}" for place in range(count)]
    for figure in (
        prediction_figures.confusion_figure(confusion(called).model_copy(update={"of": 345}), LONG),
        prediction_figures.nearest_figure(nearest([LONG, "b"])),
        prediction_figures.mask_by_domain_figure({"predictions": {"b": 0.5}}, {"b": "held_out"}),
    ):
        figure.draw_without_rendering()
        width, height = figure.bbox.width, figure.bbox.height
        for text in figure.findobj(Text):
            if text.get_text() and text.get_visible():
                box = text.get_window_extent()
                assert box.x0 >= -1, text.get_text()
                assert box.x1 <= width + 1, text.get_text()
                assert box.y1 <= height + 1, text.get_text()


def test_long_names_are_shortened_in_their_middle():
    assert names.shortened("short") == "short"
    short = names.shortened(LONG)
    assert names.columns_of(short) <= names.LONGEST
    assert short.startswith("a very long")
    assert short.endswith("and on")
    wide = names.shortened("网络摄像头" * 9)
    assert names.columns_of(wide) <= names.LONGEST


@pytest.mark.parametrize("most", [5, 12, 40])
def test_wrapped_text_is_all_there(most):
    text = f"{LONG} {'网络摄像头' * 3} x"
    lines = style.wrapped(text, most).split("\n")
    assert all(names.columns_of(line) <= most for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")


def test_letters_are_those_of_all_texts_within():
    found = fonts.letters_of({"网": ["络", {"摄": "像"}]}, ("头", 3, None))
    assert found == frozenset("网络摄像头")


def test_a_letter_that_no_font_has_is_named_with_what_to_install(monkeypatch):
    monkeypatch.setattr(font_manager, "findSystemFonts", list)
    for cached in (fonts._installed, fonts._found):
        cached.cache_clear()
    try:
        assert fonts.families(frozenset("abc")) == [fonts.OWN]
        assert fonts.missing_note(frozenset("abcé")) == ""
        note = fonts.missing_note(frozenset("a网络ب"))
        assert "络" in note
        assert "网" in note
        assert "Noto Sans CJK" in note
    finally:
        for cached in (fonts._installed, fonts._found):
            cached.cache_clear()


def test_a_font_that_is_installed_is_found(tmp_path, monkeypatch):
    # Matplotlib's own font under another name: as if it alone had the letter.
    path = font_manager.findfont("DejaVu Serif")
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [path])
    monkeypatch.setattr(fonts, "_has", lambda file: frozenset("网") if file == path else frozenset("abc"))
    for cached in (fonts._installed, fonts._found):
        cached.cache_clear()
    try:
        assert fonts.families(frozenset("a网")) == [fonts.OWN, "DejaVu Serif"]
        assert fonts.missing_note(frozenset("a网")) == ""
        assert fonts.missing(frozenset("a网络")) == "络"
    finally:
        for cached in (fonts._installed, fonts._found):
            cached.cache_clear()


def test_a_figure_with_letters_of_no_font_is_drawn_without_a_warning(tmp_path, recwarn):
    figure = prediction_figures.nearest_figure(nearest(["\U0001f9ed", "\ue000"]))
    style.save(figure, tmp_path / "a.png")
    assert not [one for one in recwarn if "Glyph" in str(one.message)]
    with Image.open(tmp_path / "a.png") as image:
        assert image.size[0] > 100


def test_names_that_cannot_be_printed_are_drawn_escaped(tmp_path):
    odd = ["caf\udce9", "a\nb", "tab\tx", "\u202ex"]
    for figure in (
        prediction_figures.nearest_figure(nearest(odd)),
        prediction_figures.confusion_figure(confusion(odd), odd[0]),
        mask_figures.overlap_figure(sites(odd)),
        mask_figures.probabilities_figure(sites(odd)),
        prediction_figures.mask_by_domain_figure({f"known:{odd[0]}": {odd[0]: 0.5}}, {odd[0]: "held_out"}),
    ):
        style.save(figure, tmp_path / "a.png")
