from __future__ import annotations

import base64
import io

import pytest
from PIL import Image

from browser import browser, visit
from domain_masks.records.collection import collect
from domain_masks.report import build_report, write_report
from domain_masks.report.document import Gallery, GalleryImage, Report, Section
from report.made_runs import make_benchmark

EVIL = ("<script>alert(1)</script>", 'x"><img src=x onerror=alert(2)>', "photo")


@pytest.fixture(scope="module")
def chromium():
    with browser() as started:
        yield started


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    out = tmp_path_factory.mktemp("page")
    make_benchmark(out / "base", {"dmg": 0.8, "aggregate": 0.6, "multi_headed": 0.7}, [0], domains=EVIL)
    make_benchmark(out / "swept", {"dmg": 0.7}, [0], domains=EVIL, settings={"overlap_weight": 0.0})
    report = build_report(collect([out]), "oracle")
    Image.new("RGB", (32, 24), (200, 30, 30)).save(out / "dog.jpg")
    gallery = Gallery("Most like photo", [GalleryImage(out / "dog.jpg", EVIL[1], "dog 99 %", [("photo", "dog 99 %")])])
    sections = [*report.sections, Section("Gallery", "gallery", [gallery])]
    shown = Report(report.title, report.subtitle, report.highlights, sections, report.warnings)
    return write_report(shown, out / "report.html", beside=False).page


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_is_whole(chromium, page, width, theme):
    with visit(chromium, page, width=width, theme=theme) as seen:
        tab = seen.page
        assert seen.requests == [page.resolve().as_uri(), *[url for url in seen.requests if url.startswith("data:")]]
        tab.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        tab.evaluate("for (const one of document.images) one.loading = 'eager'")
        tab.wait_for_function("[...document.images].every((one) => one.complete)")
        assert tab.evaluate("[...document.images].map((one) => one.naturalWidth)") == [32]
        boxes = "[...document.querySelectorAll('.panel svg')].map((one) => one.getBoundingClientRect())"
        plots = tab.evaluate(f"{boxes}.map((box) => [box.width, box.height])")
        assert len(plots) > 10
        assert all(200 < wide <= width and high > 120 for wide, high in plots)
        smallest = tab.evaluate(
            "Math.min(...[...document.querySelectorAll('.panel text')].map((one) => one.getBoundingClientRect().height))"
        )
        assert smallest > 8
        image = Image.open(io.BytesIO(tab.screenshot()))
        assert image.size == (width, 900)
        background = image.convert("L").getpixel((2, 890))
        assert background > 200 if theme == "light" else background < 60
        assert seen.complaints == []


def test_tables_sort_and_come_back(chromium, page):
    with visit(chromium, page) as seen:
        table = seen.page.locator("table[data-sortable]").first

        def rows():
            return table.locator("tbody th").all_inner_texts()

        def numbers():
            found = table.locator("tbody td:nth-child(2)").evaluate_all("all => all.map(one => one.dataset.value)")
            return [float(text) for text in found]

        before = rows()
        button = table.get_by_role("button", name="Sort by out of domain")
        button.focus()
        seen.page.keyboard.press("Enter")
        assert table.locator("th[aria-sort=descending]").count() == 1
        assert numbers() == sorted(numbers(), reverse=True)
        seen.page.keyboard.press("Enter")
        assert table.locator("th[aria-sort=ascending]").count() == 1
        assert numbers() == sorted(numbers())
        seen.page.keyboard.press("Enter")
        assert table.locator("th[aria-sort]").count() == 0
        assert rows() == before
        table.get_by_role("button", name="Sort by method").click()
        # The browser's order of letters, which differs from Python's for marks and blanks.
        assert rows() == seen.page.evaluate(
            "names => names.map(name => name.replace('\\n', '')).sort((a, b) => a.localeCompare(b, undefined, {numeric: true}))"
            ".map(name => names.find(one => one.replace('\\n', '') === name))",
            before,
        )
        assert seen.complaints == []


def test_the_theme_is_chosen_by_hand(chromium, page):
    with visit(chromium, page, theme="light") as seen:
        color = "getComputedStyle(document.body).backgroundColor"
        light = seen.page.evaluate(color)
        seen.page.locator("#theme").click()
        dark = seen.page.evaluate(color)
        assert dark != light
        text = seen.page.evaluate("getComputedStyle(document.querySelector('.panel text')).fill")
        assert sum(map(int, text.removeprefix("rgb(").removesuffix(")").split(","))) > 500
        seen.page.reload()
        assert seen.page.evaluate(color) == dark


def test_the_oracle_is_red(chromium, page):
    with visit(chromium, page) as seen:
        cells = seen.page.locator("td.oracle")
        assert cells.count() > 4
        red, green, blue = map(
            int,
            cells.first.evaluate("one => getComputedStyle(one).color")
            .removeprefix("rgb(")
            .removesuffix(")")
            .split(","),
        )
        assert red > 150 > green + blue
        assert all("oracle" in text for text in cells.all_text_contents())


def test_a_link_opens_what_it_points_to(chromium, page):
    with visit(chromium, page) as seen:
        seen.page.evaluate("location.hash = '#run-2'")
        seen.page.wait_for_function("document.getElementById('run-2').open")
        for link in seen.page.locator("nav a").evaluate_all(
            "all => all.map(one => decodeURIComponent(one.hash.slice(1)))"
        ):
            assert seen.page.locator(f"[id='{link}']").count() == 1


def test_the_page_prints(chromium, page):
    with visit(chromium, page) as seen:
        printed = seen.page.pdf(format="A4")
        assert printed.startswith(b"%PDF")
        assert len(base64.b64encode(printed)) > 50_000
