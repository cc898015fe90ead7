import re
from xml.etree import ElementTree

import pytest

from domain_masks.records.collection import collect
from domain_masks.report import build_report, render_page
from domain_masks.report.document import Gallery, GalleryImage, Report, Section
from domain_masks.report.figures.svg import plot_svg
from domain_masks.report.tables.table import Cell, Column, Table, typed
from domain_masks.report.write.latex import to_latex
from domain_masks.report.write.markdown import table_lines
from domain_masks.report.write.page import Embedding
from report.made_runs import make_benchmark

EVIL = ("<script>alert(1)</script>", 'b"><img src=x onerror=alert(2)>', "c&d_e|f$g", "{{ 7 * 7 }}")


@pytest.fixture(scope="module")
def evil(tmp_path_factory):
    out = tmp_path_factory.mktemp("evil")
    make_benchmark(out, {"dmg": 0.8, "aggregate": 0.6}, [0], domains=EVIL, classes=EVIL[:2])
    return build_report(collect([out]))


def table(*cells, columns=("method", "accuracy")):
    frame = typed([{"accuracy": 1 / 3}], {"accuracy": "Float64"})
    return Table(
        "t", "A & B_c", [Column(name, is_number=place > 0) for place, name in enumerate(columns)], [cells], frame
    )


def test_names_are_shown_and_never_run(evil):
    page = render_page(evil)
    assert page.count("<script>") == 1, "our own"
    assert "<img" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "{{ 7 * 7 }}" in page
    for figure in evil.figures:
        ElementTree.fromstring(plot_svg(figure))


def test_a_page_asks_for_nothing_from_elsewhere(small):
    page = render_page(small)
    assert "default-src 'none'" in page
    addresses = re.findall(r"""(?:src|href)=["']([^"'#][^"']*)""", page)
    assert set(addresses) <= {"data:,"}
    assert not re.search(r"url\((?!#)", page)
    assert "@import" not in page


def test_equal_records_give_equal_pages(small):
    assert render_page(small) == render_page(small)


def test_an_oracle_is_red_and_named_in_every_format():
    shown = table(Cell("dmg", mark="oracle", detail="oracle: chosen on it"), Cell("71.20 oracle", 0.712, mark="oracle"))
    latex = to_latex(shown)
    assert latex.count(r"\textcolor{red}{") == 2
    assert latex.count("oracle") >= 2
    markdown = table_lines(shown)[2]
    assert markdown.count(r"\color{red}{\textsf{oracle}}") == 2
    page = render_page(Report("t", "s", [], [Section("a", "a", [shown])]))
    assert len(re.findall(r'<t[dh][^>]*class="[^"]* oracle"[^>]*>[^<]*(?:<small>)?[^<]*oracle', page)) == 2
    assert "--oracle:#c1121f" in page


def test_images_are_embedded_as_long_as_there_is_room(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.jpg").write_bytes(b"x" * 300)
    (tmp_path / "notes.txt").write_text("secret")
    names = ("a.jpg", "b.jpg", "gone.jpg", "notes.txt")
    images = [GalleryImage(tmp_path / name, name, "dog") for name in names]
    embedding = Embedding(most_bytes=500)
    page = render_page(Report("t", "s", [], [Section("a", "a", [Gallery("g", images)])]), embedding)
    assert page.count("data:image/jpeg;base64,") == 1
    assert embedding.left_out == 1
    assert [path.name for path in embedding.unreadable] == ["gone.jpg", "notes.txt"]
