import csv
import json
import re
from xml.etree import ElementTree

import pytest

from domain_masks.errors import RunFolderError
from domain_masks.records.collection import collect
from domain_masks.report import build_report, render_page, write_report
from domain_masks.report.document import Gallery, GalleryImage, Report, Section
from domain_masks.report.figures.drawing import panel_svg, sheet_svg
from domain_masks.report.figures.plots import Figure, Panel, Series
from domain_masks.report.tables.table import Cell, Column, Table, typed
from domain_masks.report.write.latex import to_latex
from domain_masks.report.write.markdown import table_lines, to_markdown
from domain_masks.report.write.page import Embedding
from report.made_runs import make_benchmark, make_run

EVIL = ("<script>alert(1)</script>", 'b"><img src=x onerror=alert(2)>', "c&d_e|f$g", "{{ 7 * 7 }}")


def table(*cells, columns=("method", "accuracy")):
    frame = typed([{"accuracy": 1 / 3}], {"accuracy": "Float64"})
    return Table(
        "t", "A & B_c", [Column(name, is_number=place > 0) for place, name in enumerate(columns)], [cells], frame
    )


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    make_benchmark(out, {"dmg": 0.8, "aggregate": 0.6}, [0], domains=("photo", "sketch"))
    return build_report(collect([out]))


@pytest.fixture(scope="module")
def evil(tmp_path_factory):
    out = tmp_path_factory.mktemp("evil")
    make_benchmark(out, {"dmg": 0.8, "aggregate": 0.6}, [0], domains=EVIL, classes=EVIL[:2])
    return build_report(collect([out]))


def test_names_are_shown_and_never_run(evil):
    page = render_page(evil)
    assert page.count("<script>") == 1, "our own"
    assert "<img" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "{{ 7 * 7 }}" in page
    for figure in evil.figures:
        ElementTree.fromstring(sheet_svg(figure))


def test_names_are_escaped_in_markdown_and_latex(evil):
    text = to_markdown(evil)
    assert "<script>" not in text
    assert r"\<script\>" in text
    for line in text.splitlines():
        if line.startswith("| dmg"):
            assert len(re.findall(r"(?<!\\)\|", line)) >= 3
    latex = "".join(map(to_latex, evil.tables))
    assert r"c\&d\_e\textbar{}f\$g" in latex
    assert not re.search(r"(?<!\\)[_$&]f", latex)


def test_a_page_asks_for_nothing_from_elsewhere(small):
    page = render_page(small)
    assert "default-src 'none'" in page
    addresses = re.findall(r"""(?:src|href)=["']([^"'#][^"']*)""", page)
    assert set(addresses) <= {"data:,"}
    assert not re.search(r"url\((?!#)", page)
    assert "@import" not in page


def test_csv_numbers_are_not_rounded(small, tmp_path):
    written = write_report(small, tmp_path / "out" / "report.html")
    assert written.size == written.page.stat().st_size
    (path,) = [path for path in written.files if path.name == "pacs-resnet18-out-of-domain.csv"]
    rows = list(csv.DictReader(path.open()))
    dmg = next(row for row in rows if row["method"] == "dmg" and row["held_out"] == "sketch")
    results = next(r for r in collect_again(small) if r["method"] == "dmg" and r["targets"] == ["sketch"])
    assert float(dmg["accuracy"]) == results["out_of_domain"]["accuracy"]
    suffixes = {path.suffix for path in written.files}
    assert suffixes == {".csv", ".tex", ".svg", ".md"}
    markdown = (tmp_path / "out" / "report.md").read_text()
    for image in re.findall(r"!\[.*?\]\((.*?)\)", markdown):
        assert (tmp_path / "out" / image).is_file()


def collect_again(report):
    runs = next(table for table in report.tables if table.name == "runs")
    return [json.loads(open(f"{row['folder']}/results.json").read()) for row in runs.frame.to_dict("records")]  # noqa: PTH123


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


def test_latex_is_booktabs():
    latex = to_latex(table(Cell("100 %"), Cell("−1.5 ± 0.2", 1)))
    for rule in (r"\toprule", r"\midrule", r"\bottomrule", r"\caption{A \& B\_c.}"):
        assert rule in latex
    assert r"100 \% & $-$1.5 $\pm$ 0.2 \\" in latex


def test_a_figure_takes_its_colours_from_the_page():
    panel = Panel("<b> title", "x", "y", [Series("a", [0, 1], [1.0, None], 0), Series("_b", [0, 1], [1.0, 2.0], 1)])
    figure = Figure(
        "f", "title", "caption", [panel, Panel("other", "x", "y", panel.series, "bars", [(0, "p"), (1, "q")])]
    )
    text = panel_svg(panel, "what")
    assert "var(--text)" in text
    assert "var(--series-0)" in text
    assert "&lt;b&gt; title" in text
    assert "<style" not in text
    root = ElementTree.fromstring(sheet_svg(figure))
    assert {"_b", "a"} <= {element.text for element in root.iter("{http://www.w3.org/2000/svg}text")}


def test_ids_of_two_figures_do_not_meet():
    texts = [panel_svg(Panel(title, "x", "y", [Series("a", [0, 1], [1.0, 2.0], 0)]), title) for title in "ab"]
    ids = [set(re.findall(r' id="([^"]+)"', text)) for text in texts]
    assert all(ids)
    assert not ids[0] & ids[1]
    for text, own in zip(texts, ids, strict=True):
        assert set(re.findall(r"#(p[\w-]+)", text)) <= own


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


def test_what_cannot_be_used_is_named_and_counted(tmp_path):
    make_run(tmp_path / "good")
    (make_run(tmp_path / "newer", seed=1) / "results.json").write_text('{"schema": 99}')
    (make_run(tmp_path / "half", seed=2) / "results.json").write_text("{")
    (make_run(tmp_path / "foreign", seed=3) / "results.json").write_text('{"score": 1}')
    (make_run(tmp_path / "begun", seed=4) / "results.json").unlink()
    (tmp_path / "failed").mkdir()
    (tmp_path / "failed" / "failed.json").write_text('{"schema": 1, "error": "the loss became NaN"}')
    (tmp_path / "good" / "analysis.json").write_text('{"schema": 99}')
    report = build_report(collect([tmp_path]))
    page = render_page(report)
    assert report.subtitle.startswith("1 finished run, 1 failed, 1 unfinished, 3 unreadable")
    for said in ("the loss became NaN", "newer version", "malformed", "begun", "analysis.json was written by a newer"):
        assert said in page


def test_nothing_finished_is_said(tmp_path):
    (make_run(tmp_path / "begun") / "results.json").unlink()
    assert "No run has finished here." in render_page(build_report(collect([tmp_path])))


def test_a_run_without_held_out_domain_and_masks_is_shown(tmp_path):
    folder = make_run(tmp_path / "all", "aggregate")
    results = json.loads((folder / "results.json").read_text())
    del results["out_of_domain"]
    (folder / "results.json").write_text(json.dumps({**results, "targets": []}))
    (folder / "metrics.csv").unlink()
    assert "nothing held out" in render_page(build_report(collect([tmp_path])))


def test_a_folder_in_the_place_of_the_page_is_one_message(small, tmp_path):
    (tmp_path / "report.html").mkdir()
    with pytest.raises(RunFolderError, match="is a folder"):
        write_report(small, tmp_path / "report.html")
