from __future__ import annotations

import csv
import html
import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from domain_masks.errors import RunFolderError
from domain_masks.records.collection import collect
from domain_masks.report import build_report, write_report
from domain_masks.report.tables.table import Column, Table, typed
from report.made_runs import ODD_DOMAINS


def table(*cells, columns=("method", "accuracy")):
    frame = typed([{"accuracy": 1 / 3}], {"accuracy": "Float64"})
    return Table(
        "t", "A & B_c", [Column(name, is_number=place > 0) for place, name in enumerate(columns)], [cells], frame
    )


def collect_again(report):
    runs = next(table for table in report.tables if table.name == "runs")
    return [json.loads(open(f"{row['folder']}/results.json").read()) for row in runs.frame.to_dict("records")]  # noqa: PTH123


def test_every_name_is_in_every_format(written: Path) -> None:
    page = (written / "report.html").read_text()
    text = html.unescape(re.sub(r"<[^>]*>", "", page.replace("<wbr>", "")))
    for name in ODD_DOMAINS:
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


def test_a_folder_in_the_place_of_the_page_is_one_message(small, tmp_path):
    (tmp_path / "report.html").mkdir()
    with pytest.raises(RunFolderError, match="is a folder"):
        write_report(small, tmp_path / "report.html")
