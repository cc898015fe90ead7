"""The page as a visitor uses it, in a headless Chromium."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from browser import Visit, browser, visit
from deploy.examples import card
from deploy.served import Served, served
from domain_masks.deploy import Model
from domain_masks.deploy.demo.examples import find_examples
from domain_masks.deploy.demo.rendering import percent
from domain_masks.records.test_time import AtTestTime
from methods.contract import built

pytest.importorskip("gradio", reason="gradio is not installed: the extra `demo`")

WAIT = 60_000
HARMLESS = ["Method not implemented."]
"""Warnings of gradio's own, when it ends a stream that has come to its end."""
BROKEN_WORDS = """
[...document.querySelectorAll(".dmg-matrix .dmg-domain, .dmg-matrix tbody th")].filter((element) => {
  const range = document.createRange();
  range.selectNodeContents(element.lastChild);
  return !element.textContent.includes(" ") && range.getClientRects().length > 1;
}).map((element) => element.textContent)
"""
"""The names of rows and columns that are spread over two lines."""
NO_IMAGE = {"name": "no{{1}}${2}.png", "mimeType": "image/png", "buffer": b"hello"}


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as started:
        yield started


@pytest.fixture(scope="module")
def site(chromium: Any, model: Model, images: Path) -> Iterator[Served]:
    with served(model, [str(images / "stripes")]) as site:
        yield site


@pytest.fixture
def visited(chromium: Any, site: Served) -> Iterator[Visit]:
    with visit(chromium, site.address) as visited:
        visited.page.set_default_timeout(WAIT)
        visited.page.wait_for_selector("#dmg-examples button")
        yield visited
        assert [words for words in visited.complaints if words not in HARMLESS] == []
        outside = [address for address in visited.requests if not address.startswith((site.address, "data:", "blob:"))]
        assert outside == []


def upload(visited: Visit, file: Any) -> None:
    visited.page.locator("input[type=file]").set_input_files(file)


def test_a_dropped_image_is_answered_and_not_kept(visited: Visit, site: Served, model: Model, images: Path) -> None:
    path = images / "dots" / "green" / "0.png"
    upload(visited, path)
    visited.page.wait_for_selector(".dmg-verdict")
    (expected,) = model.predict(path)
    said = visited.page.locator("#dmg-answer").inner_text()
    assert f"{expected.class_name} {percent(expected.probability)}" in " ".join(said.split())
    assert str(expected.nearest_source) in said
    head = visited.page.locator(".dmg-matrix thead th").all_inner_texts()
    assert [source in cell for source, cell in zip(model.sources, head, strict=True)] == [True, True]
    for place, source in enumerate(model.sources, 2):
        row = visited.page.locator("tr", has=visited.page.locator(f"td:nth-child({place}).dmg-vote"))
        assert row.locator("th").inner_text() == expected.votes[source].class_name
    assert visited.page.locator("#dmg-classes").inner_text().count("%") == len(model.classes)
    assert visited.page.locator(".dmg-image figcaption").inner_text() == "0.png"
    assert [place for place in site.uploads() if place.stat().st_size] == []


def test_the_answer_is_followed_by_the_maps_of_every_mask(visited: Visit, model: Model, images: Path) -> None:
    upload(visited, images / "dots" / "green" / "0.png")
    visited.page.wait_for_selector(".dmg-evidence")
    titles = visited.page.locator(".dmg-evidence li span").all_inner_texts()
    assert titles == ["All masks, predictions averaged", *(f"Only the mask of {source}" for source in model.sources)]
    maps = visited.page.locator(".dmg-evidence img").count() + visited.page.locator(".dmg-evidence .dmg-none").count()
    assert maps == len(titles)
    (expected,) = model.predict(images / "dots" / "green" / "0.png")
    assert visited.page.locator(".dmg-evidence h3").inner_text() == f"Where the evidence for {expected.class_name} lies"


def test_many_images_are_a_table_and_a_file(visited: Visit, site: Served, images: Path, tmp_path: Path) -> None:
    packed = tmp_path / "many.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for path in sorted((images / "dots" / "red").iterdir()):
            archive.write(path, f"photos/{path.name}")
        archive.writestr("photos/no.jpg", b"hello")
    page = visited.page
    page.get_by_role("tab", name="Many images").click()
    page.locator("#dmg-files input[type=file]").set_input_files(packed)
    page.wait_for_selector(".dmg-rows")
    count = len(list((images / "dots" / "red").iterdir()))
    assert page.locator(".dmg-predictions tbody tr").count() == count
    assert "1 file could not be read" in page.locator(".dmg-rows .dmg-problem").inner_text()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download predictions.csv").click()
    rows = Path(download.value.path()).read_text().splitlines()
    assert rows[0].startswith("path,class,probability,class_2")
    assert [row.partition(",")[0] for row in rows[1:3]] == ["photos/0.png", "photos/1.png"]
    assert len(rows) == 1 + count
    assert [place for place in site.uploads() if place.stat().st_size] == []


def test_an_option_of_test_time_is_said_beside_every_number(chromium: Any, model: Model, images: Path) -> None:
    path, option = images / "dots" / "green" / "0.png", AtTestTime(tta="flips")
    (expected,) = model.predict(path, test_time=option)
    with served(model, [str(images / "stripes")], option) as site, visit(chromium, site.address, 390, 844) as visited:
        page = visited.page
        page.set_default_timeout(WAIT)
        page.wait_for_selector("#dmg-examples button")
        # model.json holds the accuracies of ordinary predictions.
        accuracies = [text for text in page.locator(".dmg-head dt").all_inner_texts() if "accuracy" in text]
        assert len(accuracies) == 2
        assert all(text.endswith("without tta flips") for text in accuracies)
        upload(visited, path)
        page.wait_for_selector(".dmg-evidence")
        for part in (".dmg-head", ".dmg-verdict", ".dmg-part:has(.dmg-matrix)"):
            assert option.in_words() in page.locator(part).inner_text()
        assert percent(expected.probability) in page.locator(".dmg-verdict h2").inner_text()
        assert "its accuracy was not measured with tta flips" in page.locator("#dmg-answer").inner_text()
        assert "They are of the image alone" in page.locator(".dmg-evidence").inner_text()
        page.get_by_label("Only the mask of dots").first.check()
        page.wait_for_function("document.querySelector('.dmg-verdict').innerText.includes('Only the mask of dots')")
        assert option.in_words() in page.locator(".dmg-verdict").inner_text()
        page.get_by_role("tab", name="Many images").click()
        page.locator("#dmg-files input[type=file]").set_input_files(path)
        page.wait_for_selector(".dmg-rows")
        assert option.in_words() in page.locator(".dmg-rows").inner_text()
        assert page.locator(".dmg-predictions tbody td").last.inner_text() == "tta flips"
        with page.expect_download() as download:
            page.get_by_role("link", name="Download predictions.csv").click()
        assert [row.rpartition(",")[2] for row in Path(download.value.path()).read_text().splitlines()] == [
            "test_time",
            "tta flips",
        ]
        assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0


def test_a_file_that_is_no_image_is_a_message_and_the_next_one_is_answered(
    visited: Visit, site: Served, images: Path
) -> None:
    upload(visited, NO_IMAGE)
    message = visited.page.locator(".dmg-problem")
    message.wait_for()
    assert "cannot be read as an image: unsupported or corrupt image" in message.inner_text()
    assert message.get_attribute("role") == "alert"
    assert [place for place in site.uploads() if place.stat().st_size] == []
    upload(visited, images / "dots" / "red" / "0.png")
    visited.page.wait_for_selector(".dmg-verdict")
    assert message.count() == 0


def test_an_example_and_another_ensemble(visited: Visit, model: Model, images: Path) -> None:
    page = visited.page
    page.get_by_role("button", name="Thumbnail 2 of 12").click()
    page.wait_for_selector(".dmg-verdict")
    name = page.locator(".dmg-image figcaption").inner_text()
    (path,) = [one for one in sorted((images / "stripes").rglob("*.png"))[:12] if one.name == name][:1]
    page.get_by_label("Only the mask of dots").check()
    page.wait_for_function("document.querySelector('.dmg-verdict').innerText.includes('Only the mask of dots')")
    (expected,) = model.predict(path, ensemble="known:dots")
    assert expected.class_name in page.locator(".dmg-verdict h2").inner_text()


def test_an_example_is_shown_again_after_an_upload(visited: Visit, images: Path) -> None:
    page = visited.page
    page.get_by_role("button", name="Thumbnail 3 of 12").click()
    page.wait_for_selector(".dmg-verdict")
    name = page.locator(".dmg-image figcaption").inner_text()
    upload(visited, images / "dots" / "green" / "0.png")
    page.wait_for_function(f"document.querySelector('.dmg-image figcaption').innerText !== '{name}'")
    page.get_by_role("button", name="Thumbnail 3 of 12").click()
    page.wait_for_function(f"document.querySelector('.dmg-image figcaption').innerText === '{name}'")


def test_labels_and_figures_have_names(visited: Visit, model: Model) -> None:
    page = visited.page
    assert page.locator("h1").count() == 1
    assert page.get_by_role("radio").count() == len(model.ensembles)
    unnamed = page.evaluate(
        "[...document.querySelectorAll('button, [role=img]')].filter(e => e.offsetParent && "
        "!(e.innerText.trim() || e.ariaLabel || e.title)).map(e => e.outerHTML.slice(0, 200))"
    )
    assert unnamed == []
    assert page.locator(".dmg-stack[role=img]").count() == len(page.locator(".dmg-site").all()) > 0


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_phone_shows_all_of_it(theme: str, chromium: Any, site: Served) -> None:
    with visit(chromium, site.address, 390, 844, theme) as visited:
        page = visited.page
        page.set_default_timeout(WAIT)
        page.get_by_role("button", name="Thumbnail 1 of 12").click()
        page.wait_for_selector(".dmg-evidence")
        assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0
        assert page.evaluate(BROKEN_WORDS) == []
        red, green, blue = page.evaluate(
            "getComputedStyle(document.querySelector('.dmg-verdict h2')).color.match(/[0-9.]+/g).slice(0, 3).map(Number)"
        )
        assert (red + green + blue > 384) == (theme == "dark")
        assert [words for words in visited.complaints if words not in HARMLESS] == []


@pytest.mark.parametrize(
    ("method", "has", "has_not"),
    [
        ("dmg", ["all masks, predictions averaged", "agreement of the masks by site"], ["heads"]),
        (
            "multi_headed",
            ["all heads, predictions averaged", "head of "],
            ["agreement of the masks"],
        ),
        ("aggregate", ["the model's prediction"], ["only the", "agreement of the masks"]),
    ],
)
def test_the_page_of_each_kind_of_method_says_what_it_has(
    method: str, has: list[str], has_not: list[str], images: Path
) -> None:
    from domain_masks.deploy.demo.demo_page import build_page  # noqa: PLC0415 - needs gradio

    described = card(16, targets=[], preprocessing={"size": 16, "resize": 16, "square": True})
    model = Model(built(method), described, "cpu")
    page = build_page(model, find_examples(model, [str(images / "dots" / "red")]))
    words = json.dumps(page.get_config_file(), default=str).lower()
    assert [word for word in has if word not in words] == []
    assert [word for word in [*has_not, "test time"] if word in words] == []
