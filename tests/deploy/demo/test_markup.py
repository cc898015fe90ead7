from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from PIL import Image

from domain_masks.deploy.demo import Answer, Shown, markup, shown, site_agreements
from domain_masks.deploy.demo.examples import Example

EVIL = '<img src=x onerror="alert(1)">${alert(2)}{{3}}`4`'
VOID = {"img", "br", "hr", "input", "meta", "link"}


class Reading(HTMLParser):
    """Checks that every tag is closed, and collects texts and attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.tags: list[str] = []
        self.texts = ""
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts += data


def both(what: Shown, word: str) -> str:
    return markup.result(what, word) + markup.comparison(what, tuple(what.by_source), word)


def answered(label: str | None = None, name: str = "a.png") -> str:
    rows = {"predictions": [0.2, 0.7, 0.1], "known:ink": [0.1, 0.8, 0.1], "known:oil": [0.6, 0.3, 0.1]}
    asked = Answer(name, {key: np.log(row) for key, row in rows.items()}, label)
    return both(shown(asked, "predictions", ("cat", "dog", "owl"), ("ink", "oil")), "mask")


def test_the_result_says_all_that_was_promised() -> None:
    texts = Reading(answered()).texts
    for words in (
        "dog 70.0 %",
        "1 of 2 masks vote for dog, oil for cat",
        "Nearest source: ink",
        "between 30.0 % and 80.0 %",
    ):
        assert words in texts
    assert "label" not in texts


@pytest.mark.parametrize(("label", "verdict"), [("dog", "Right"), ("cat", "Wrong")])
def test_a_known_label_is_compared(label: str, verdict: str) -> None:
    assert f"{verdict}: its label is {label}" in Reading(answered(label)).texts


def test_unanimous_votes_and_a_method_without_any() -> None:
    rows = dict.fromkeys(("predictions", "known:ink", "known:oil"), np.log([0.2, 0.8]))
    same = shown(Answer("a", rows), "predictions", ("cat", "dog"), ("ink", "oil"))
    texts = Reading(both(same, "head")).texts
    assert "All 2 heads vote for dog" in texts
    assert "80.0 % under every head" in texts
    alone = shown(Answer("a", {"predictions": np.log([0.2, 0.8])}), "predictions", ("cat", "dog"), ("ink", "oil"))
    assert "no votes" in Reading(both(alone, "")).texts


def test_no_name_is_taken_for_html_or_for_a_template() -> None:
    rows = {"predictions": np.log([0.4, 0.6]), f"known:{EVIL}": np.log([0.4, 0.6])}
    what = shown(Answer(EVIL, rows), "predictions", (EVIL, "b"), (EVIL,))
    image = Image.new("RGB", (100, 80))
    page = both(what, "mask") + markup.image_figure(image, EVIL) + markup.problem(EVIL)
    page += markup.example_buttons([Example(EVIL, None, lambda: image)], [image])
    page += markup.sites(site_agreements({EVIL: torch.ones(1, 4)}, (EVIL,)), (EVIL,))
    page += markup.introduction(EVIL, EVIL, {EVIL: EVIL}, [EVIL])
    read = Reading(page)
    assert EVIL in read.texts
    assert not [name for name, _ in read.attributes if name.startswith("on")]
    assert all(value.startswith("data:image/") for name, value in read.attributes if name == "src" and value)
    assert not {"{", "}", "$", "`"} & set(page)


def test_the_figure_of_a_site_says_its_numbers() -> None:
    logits = torch.tensor([[1.0, 1.0, -1.0, -1.0], [1.0, -1.0, 1.0, -1.0]])
    page = markup.sites(site_agreements({"layer.4": logits}, ("ink", "oil")), ("ink", "oil"))
    read = Reading(page)
    labels = [value for name, value in read.attributes if name == "aria-label"]
    assert "1 on in all masks, 1 on for ink alone, 1 on for oil alone, 1 off in all" in labels
    assert "25.0 % on in all masks, 50.0 % for one domain alone" in read.texts
    assert markup.sites([], ("ink", "oil")) == ""


def test_small_images_are_kept_exactly() -> None:
    assert markup.data_address(Image.new("RGB", (32, 32))).startswith("data:image/png")
    assert markup.data_address(Image.new("RGB", (320, 32))).startswith("data:image/jpeg")


@pytest.mark.parametrize(
    ("value", "said"), [(0.0, "0.0 %"), (0.0004, "< 0.1 %"), (0.5, "50.0 %"), (0.9996, "> 99.9 %"), (1.0, "100.0 %")]
)
def test_nothing_is_rounded_to_certainty(value: float, said: str) -> None:
    assert markup.percent(value) == said


def test_names_are_listed_as_in_a_sentence() -> None:
    assert [markup.listed(["a", "b", "c"][:count]) for count in (1, 2, 3)] == ["a", "a and b", "a, b and c"]


@pytest.mark.parametrize(
    ("name", "word"), [("dslr", "mask"), ("_amazon", "head"), ("網路 $x$", "mask"), ("a|b", "mask")]
)
def test_names_of_domains_are_written_as_they_are(name: str, word: str) -> None:
    assert markup.ensemble_title(f"known:{name}", word) == f"the {word} of {name} alone"


def test_how_far_the_nearest_source_can_be_trusted_stands_beside_it() -> None:
    rows = {"predictions": [0.2, 0.8], "known:ink": [0.1, 0.9], "known:oil": [0.6, 0.4]}
    asked = Answer("a", {key: np.log(row) for key, row in rows.items()}, None, np.array([0.25, 0.75], dtype=np.float32))
    what = replace(
        shown(asked, "predictions", ("cat", "dog"), ("ink", "oil")),
        about_nearest="Right on 98.5 % <of> the sources' own images.",
    )
    texts = Reading(both(what, "mask")).texts
    assert (
        "Nearest source: oil, to which the domain classifier gives 75.0 %. Right on 98.5 % <of> the sources' own images."
        in texts
    )
