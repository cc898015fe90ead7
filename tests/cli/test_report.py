"""``dmg report`` as a user calls it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from domain_masks.cli import main
from report.made_runs import make_benchmark, make_run


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_benchmark(tmp_path_factory.mktemp("runs"), {"dmg": 0.8}, [0], domains=("photo", "sketch"))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, benchmark: Path) -> Path:
    shutil.copytree(benchmark, tmp_path / "pacs")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_folder_of_runs_has_its_report_in_all_formats(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "pacs", "--quiet"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("report: pacs/report/report.html (")
    assert {path.name for path in (here / "pacs" / "report").iterdir()} == {
        "report.html",
        "report.md",
        "tables",
        "figures",
    }
    # A report that lies among the runs is no run.
    assert main(["report", "pacs", "--quiet", "--out", "again"]) == 0
    assert "2 finished runs" in (here / "again" / "report.html").read_text()


def test_a_run_folder_has_its_page_and_nothing_else(here: Path) -> None:
    run = make_run(here / "run", "aggregate")
    before = {path.name for path in run.iterdir()}
    assert main(["report", "run", "--quiet"]) == 0
    assert {path.name for path in run.iterdir()} == {*before, "report.html"}


def test_settings_come_from_yaml_and_flags_win(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "report.yaml").write_text("runs: pacs\nselect: oracle\nout: one\ngallery: false\n")
    assert main(["report", "--config", "report.yaml", "--out", "two", "--select", "source-validation"]) == 0
    assert "chosen by source-validation" in capsys.readouterr().err
    assert (here / "two" / "report.html").is_file()
    assert not (here / "one").exists()


def test_what_cannot_be_used_is_listed_and_ends_with_1(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "pacs" / "dmg" / "target-0" / "seed-0" / "results.json").write_text("{")
    (here / "pacs" / "failed").mkdir()
    (here / "pacs" / "failed" / "failed.json").write_text('{"schema": 1, "error": "the loss became NaN"}')
    assert main(["report", "pacs", "--quiet"]) == 1
    out = capsys.readouterr().out
    assert "failed: pacs/failed: the loss became NaN" in out
    assert "skipped: pacs/dmg/target-0/seed-0/results.json is malformed" in out
    assert "report: pacs/report/report.html" in out
