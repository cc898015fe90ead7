"""A report of runs whose domains and classes have names that mean something to HTML, Markdown, LaTeX, CSV and SVG."""

from __future__ import annotations

import csv
import html
import json
import re
import warnings
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from domain_masks.records import Results
from domain_masks.records.collection import collect
from domain_masks.records.names import columns_of
from domain_masks.records.pairs import pair_key
from domain_masks.records.results import MASKS_AT_START
from domain_masks.report import build_report, write_report
from domain_masks.report.figures import drawing
from domain_masks.report.figures.plots import Figure, Panel, Series
from domain_masks.report.runs.accuracies import summary
from domain_masks.report.runs.groups import groups_of
from domain_masks.report.tables.table import Column, Table, text_cell
from domain_masks.report.write.latex import escaped as latex
from domain_masks.report.write.latex import to_latex
from domain_masks.report.write.markdown import escaped as markdown
from domain_masks.report.write.markdown import prose
from report.made_runs import PAPER_CONFIG, make_run

DOMAINS = ("_amazon", "网络摄像头", "a|b", "x_y")
BARS = Series("a", [0.0, 1.0], [0.5, 1.0], 0)
CONFIG = {**PAPER_CONFIG, "dataset": "photos", "backbone": "small"}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("report")
    make_run(root / "runs" / "one", target="_amazon", domains=DOMAINS, classes=("=1+2", "50%", "<i>"), config=CONFIG)
    path = root / "runs" / "one" / "results.json"
    content = json.loads(path.read_text())
    for site in content["masks"].values():
        site["pairwise_iou"] = {pair_key("a|b", "x_y"): 0.5, pair_key("网络摄像头", "a|b"): 0.25}
        site["activated"] = dict.fromkeys(content["sources"], 1.0)
    content["notes"] = [{"about": MASKS_AT_START, "text": "the masks have hardly left their start: raise --lr_masks"}]
    path.write_text(json.dumps(content))
    write_report(build_report(collect([root / "runs"])), root / "report.html")
    return root


def test_every_name_is_in_every_format(written: Path) -> None:
    page = (written / "report.html").read_text()
    text = html.unescape(re.sub(r"<[^>]*>", "", page.replace("<wbr>", "")))
    for name in DOMAINS:
        assert name in text
    assert "a|b – x_y" in text
    assert "a|b – 网络摄像头" in text
    assert r"\_amazon" in (written / "report.md").read_text()
    tables = "".join(path.read_text() for path in (written / "tables").glob("*.tex"))
    assert r"\_amazon" in tables
    assert r"a\textbar{}b" in tables
    assert "XeLaTeX" in tables
    for path in (written / "figures").glob("*.svg"):
        ElementTree.fromstring(path.read_text())


def test_the_note_stands_below_the_numbers(written: Path) -> None:
    (overview,) = [
        table for table in build_report(collect([written / "runs"])).tables if table.name.endswith("overview")
    ]
    assert any("hardly left their start" in note and "--lr_masks" in note for note in overview.notes)
    assert "hardly left their start" in (written / "report.html").read_text()
    assert "hardly left their start" in (written / "report.md").read_text()


def test_a_domain_called_overall_is_not_the_mean(tmp_path: Path) -> None:
    right = {"overall": 0.2, "b": 0.8, "c": 0.8}
    for name, share in right.items():
        make_run(tmp_path / name, target=name, right=share, domains=tuple(right), config=CONFIG)
    (group,) = groups_of(collect([tmp_path]).runs)
    rows = summary(group).query("measure == 'out_of_domain' and ensemble == 'predictions'").set_index("held_out")
    measured = {name: json.loads((tmp_path / name / "results.json").read_text())["out_of_domain"] for name in right}
    assert rows.index.is_unique
    assert rows.loc["overall (domain)", "accuracy"] == measured["overall"]["accuracy"]
    assert rows.loc["overall", "accuracy"] == pytest.approx(sum(one["accuracy"] for one in measured.values()) / 3)
    report = build_report(collect([tmp_path]))
    (table,) = [table for table in report.tables if table.name.endswith("-out-of-domain")]
    shown = [cell.text for row in table.rows for cell in row] + [column.title for column in table.columns]
    assert "overall (domain)" in shown


def test_one_run_has_no_table_three_times(written: Path) -> None:
    tables = build_report(collect([written / "runs"])).tables
    names = [table.name for table in tables]
    assert len(names) == len(set(names))
    assert not [name for name in names if name.endswith(("-out-of-domain", "-in-domain", "-known-domain"))]
    (by_domain,) = [table for table in tables if table.name.endswith("by-domain")]
    assert [column.title for column in by_domain.columns] == [
        "method",
        "measure",
        "_amazon",
        "a|b",
        "x_y",
        "网络摄像头",
    ] or {column.title for column in by_domain.columns} == {"method", "measure", *DOMAINS}
    assert by_domain.frame["images"].notna().all()
    results = Results.read(written / "runs" / "one" / "results.json")
    assert results.in_domain is not None
    inside = by_domain.frame[by_domain.frame["measure"] == "in_domain"].set_index("domain")["accuracy"].to_dict()
    assert inside == pytest.approx(results.in_domain.per_domain)


def test_whole_numbers_are_whole_everywhere(written: Path) -> None:
    with (written / "tables" / "runs.csv").open(newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert (row["best_epoch"], row["epochs_run"], row["seed"]) == ("3", "3", "0")
    assert "3.0<" not in (written / "report.html").read_text()


@pytest.mark.parametrize("ending", ["html", "md"])
def test_commands_are_code_and_nothing_is_one_of_several(written: Path, ending: str) -> None:
    text = (written / f"report.{ending}").read_text()
    if ending == "html":
        body = re.sub(r"<(script|style).*?</\1>", "", text, flags=re.DOTALL)
        assert "`" not in body
        assert "<code>dmg benchmark --seeds 0 1 2</code>" in body
        text = re.sub(r"<[^>]*>", " ", body)
    else:
        assert "`dmg benchmark --seeds 0 1 2`" in text
    assert not re.search(r"\b1 (runs|seeds|images|images|epochs|rows|domains|classes|protocols)\b", text)


def test_means_of_whole_numbers_have_no_decimals_where_they_are_whole(tmp_path: Path) -> None:
    for seed, best in ((0, 3), (1, 3)):
        path = make_run(tmp_path / str(seed), seed=seed, target="_amazon", domains=DOMAINS, config=CONFIG)
        content = json.loads((path / "results.json").read_text())
        (path / "results.json").write_text(json.dumps({**content, "best_epoch": best}))

    def shown() -> str:
        (table,) = [one for one in build_report(collect([tmp_path])).tables if one.name.endswith("overview")]
        return table.rows[0][[column.title for column in table.columns].index("best epoch")].text

    assert shown() == "3"
    content = json.loads((tmp_path / "1" / "results.json").read_text())
    (tmp_path / "1" / "results.json").write_text(json.dumps({**content, "best_epoch": 2}))
    assert shown() == "2.5"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("_amazon", r"\_amazon"),
        ("50% #1 & $x$", r"50\% \#1 \& \$x\$"),
        ("a--b---c", "a-{}-b-{}-{}-c"),
        ("[x]*", "{[}x]{*}"),
        ("`x`", r"\textasciigrave{}x\textasciigrave{}"),
        ("a – b", "a -- b"),
    ],
)
def test_latex_sets_names_as_they_are(text: str, expected: str) -> None:
    assert latex(text) == expected


def test_a_row_that_begins_with_a_bracket_is_no_argument_of_the_row_before() -> None:
    import pandas as pd  # noqa: PLC0415

    rows = [[text_cell("a")], [text_cell("[b]")], [text_cell("*c")]]
    made = to_latex(Table("t", "T", [Column("x", is_number=False, detail="n = 3")], rows, pd.DataFrame()))
    assert not re.search(r"\\\\\s*[\[*]", made)
    assert r"x {\scriptsize n = 3}" in made


@pytest.mark.parametrize(
    ("text", "expected"), [("1. x", r"1\. x"), ("- x", r"\- x"), ("+ x", r"\+ x"), ("-1", "-1"), ("a|b", r"a\|b")]
)
def test_markdown_shows_names_as_they_are(text: str, expected: str) -> None:
    assert markdown(text) == expected


def test_only_commands_and_flags_are_code() -> None:
    assert (
        prose("run `dmg train --seed 1` or `--lr_masks`, not `x`")
        == r"run `dmg train --seed 1` or `--lr_masks`, not \`x\`"
    )


@pytest.mark.parametrize(
    "panel",
    [
        *(
            Panel("t", "epoch", "IoU", [Series("a", [1.0, 2.0], y, 0)])
            for y in ([0.98, 1.04], [2.4825, 2.4725], [9e5, 9e5 + 1])
        ),
        Panel(
            "t",
            "",
            "IoU",
            [Series("a", [0.0, 1.0], [0.5, 1.0], 0)],
            "bars",
            [(0.0, "网" * 40), (1.0, "x" * 40)],
            (0, 1),
        ),
        Panel(
            "t",
            "site",
            "IoU",
            [Series("a", [0.0, 1.0], [0.5, 1.0], 0)],
            "bars",
            [(0.0, "classifier.hidden"), (1.0, "b" * 20)],
        ),
    ],
)
def test_what_stands_along_the_axes_is_within_the_panel(panel: Panel, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = []

    def measure(canvas: Any, axes: Any) -> None:
        make_room(canvas, axes)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            canvas.draw_without_rendering()
            measured.extend(axis.get_tightbbox(canvas.canvas.get_renderer()) for axis in (axes.xaxis, axes.yaxis))

    make_room = drawing._make_room
    monkeypatch.setattr(drawing, "_make_room", measure)
    drawing.panel_svg.cache_clear()
    assert "IoU" in drawing.panel_svg(panel, "x")
    assert len(measured) == 2
    for box in measured:
        assert box.x0 >= 0
        assert box.y0 >= 0


def test_a_long_name_in_the_legend_of_a_file_is_within_it() -> None:
    series = [Series(name, [0.0, 1.0], [0.5, 1.0], place) for place, name in enumerate(["网" * 60, "x" * 90, "short"])]
    figure = Figure("n", "T", "c", [Panel("t", "epoch", "IoU", series)])
    text = drawing.sheet_svg(figure)
    width = float(re.search(r'width="(\d+)"', text)[1])
    labels = re.findall(r'<text x="(\d+)" y="\d+" style="font-size:12px[^>]*>([^<]*)</text>', text)
    assert [label for _, label in labels][-1] == "short"
    for x, label in labels:
        assert float(x) + 7 * columns_of(label) <= width
