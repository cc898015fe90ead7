from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import pytest
import torch
from PIL import Image

from domain_masks.deploy.demo.answers import Answer
from domain_masks.deploy.demo.rendering import ensemble_title, figure, parts, percent
from domain_masks.deploy.predicting.prediction import Guess, Prediction
from domain_masks.masks import neuron_counts

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


RULE = "by the domain classifier, which is correct on 98.5 % <of> the sources' own images"


def answer_of(votes: dict[str, Guess], **options: Any) -> Answer:
    top = (Guess("dog", 0.7), Guess("cat", 0.2), Guess("owl", 0.1))
    nearest = {"nearest_source": next(iter(votes)), "nearest_weight": 0.75} if len(votes) > 1 else {}
    by_class = {
        guess.class_name: {
            source: vote.probability if vote.class_name == guess.class_name else 0.3 for source, vote in votes.items()
        }
        for guess in top
    }
    return Answer(Prediction("a.png", top, votes, **nearest), by_class, **options)


DIFFERENT = {"ink": Guess("dog", 0.8), "oil": Guess("cat", 0.6)}


def said(what: Answer, word: str = "mask", is_classified: bool = True) -> str:
    page = str(parts().verdict(what, "All masks")) + str(parts().comparison(what, word, is_classified, RULE))
    return " ".join(Reading(page).texts.split())


def test_the_result_says_all_that_was_promised() -> None:
    texts = said(answer_of(DIFFERENT))
    for words in (
        "dog 70.0 %",
        "1 of 2 masks vote for dog, oil for cat.",
        f"Nearest source: ink with 75.0 %, {RULE}.",
        "dog has between 30.0 % and 80.0 %, depending on the mask.",
    ):
        assert words in texts
    assert "label" not in texts
    assert "75.0 % of the masks' confidence (50.0 % would be an equal share)" in said(
        answer_of(DIFFERENT), "mask", False
    )


@pytest.mark.parametrize(("label", "verdict"), [("dog", "Right"), ("cat", "Wrong")])
def test_a_known_label_is_compared(label: str, verdict: str) -> None:
    assert f"{verdict}: its label is {label}" in said(answer_of(DIFFERENT, label=label))


def test_unanimous_votes_and_a_method_without_any() -> None:
    texts = said(answer_of(dict.fromkeys(("ink", "oil"), Guess("dog", 0.8))), "head")
    assert "All 2 heads vote for dog" in texts
    assert "80.0 % under every head" in texts
    assert "no masks or heads per domain" in said(answer_of({}), "")


def test_no_name_is_taken_for_html_or_for_a_template() -> None:
    evil = Answer(Prediction(EVIL, (Guess(EVIL, 0.6),), {EVIL: Guess(EVIL, 0.6)}), {EVIL: {EVIL: 0.6}}, EVIL)
    page = str(parts().verdict(evil, EVIL, EVIL)) + str(parts().comparison(evil, EVIL, True, EVIL, EVIL))
    page += figure(Image.new("RGB", (100, 80)), EVIL) + str(parts().problem(EVIL)) + str(parts().note(EVIL))
    page += str(parts().neurons({EVIL: neuron_counts(torch.ones(1, 4))}, [(EVIL, "a")] * 4))
    page += str(parts().introduction(EVIL, EVIL, {EVIL: EVIL}, [EVIL]))
    read = Reading(page)
    assert EVIL in read.texts
    assert not [name for name, _ in read.attributes if name.startswith("on")]
    assert all(value.startswith("data:image/") for name, value in read.attributes if name == "src" and value)
    assert not {"{", "}", "$", "`"} & set(page)


def test_the_figure_of_a_site_says_its_numbers() -> None:
    counts = neuron_counts(torch.tensor([[1.0, 1.0, -1.0, -1.0], [1.0, -1.0, 1.0, -1.0]]))
    kinds = [(f"active in {name}", name) for name in ("all", "several", "ink alone", "oil alone", "none")]
    read = Reading(str(parts().neurons({"layer.4": counts}, kinds)))
    labels = [value for name, value in read.attributes if name == "aria-label"]
    assert (
        "1 active in all, 0 active in several, 1 active in ink alone, 1 active in oil alone, 1 active in none" in labels
    )
    assert "25.0 % active in all masks, 50.0 % for one domain only" in " ".join(read.texts.split())


def test_small_images_are_kept_exactly() -> None:
    assert "data:image/png" in figure(Image.new("RGB", (32, 32)), "a")
    assert "data:image/jpeg" in figure(Image.new("RGB", (320, 32)), "a")


@pytest.mark.parametrize(
    ("value", "said"), [(0.0, "0.0 %"), (0.0004, "< 0.1 %"), (0.5, "50.0 %"), (0.9996, "> 99.9 %"), (1.0, "100.0 %")]
)
def test_nothing_is_rounded_to_certainty(value: float, said: str) -> None:
    assert percent(value) == said


@pytest.mark.parametrize(
    ("name", "word"), [("dslr", "mask"), ("_amazon", "head"), ("網路 $x$", "mask"), ("a|b", "mask")]
)
def test_names_of_domains_are_written_as_they_are(name: str, word: str) -> None:
    assert ensemble_title(f"known:{name}", word) == f"Only the {word} of {name}"
