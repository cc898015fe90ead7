from __future__ import annotations

import csv
from pathlib import Path

import pytest

from domain_masks.errors import RunFolderError
from domain_masks.records import Analysis, RunFolder
from domain_masks.report import draw_analysis
from domain_masks.report.figures import fonts
from domain_masks.report.write import run_figures
from report.made_analysis import made_analysis


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path)
    made_analysis(thumbnails=tmp_path).write(folder.analysis)
    return folder


def few(run: Path, analysis: Analysis):
    return (pair for pair in _all(run, analysis) if pair[0] in ("mask_by_domain", "ablation-sketch"))


_all = run_figures.run_figures


def test_everything_is_drawn_and_noted(folder: RunFolder) -> None:
    found = draw_analysis(folder.path)
    assert Analysis.read(folder.analysis) == found
    for name in found.figures:
        assert (folder.figures / name).stat().st_size > 0
    assert {Path(name).stem for name in found.figures if name.endswith(".png")} == {
        *("mask_by_domain", "overlap", "activated", "mask_probabilities", "kinds_over_epochs", "nearest_source"),
        *("features_by_domain", "features_by_class", "channels-1"),
        *("heat_maps-photo", "heat_maps-art", "heat_maps-cartoon", "heat_maps-sketch"),
        *("calibration", "confusion-sketch", "ablation-sketch", "gallery-nearest-sketch", "gallery-mistakes-sketch"),
    }


def test_what_an_earlier_analysis_left_is_replaced_and_other_files_stay(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_figures, "run_figures", few)
    assert "ablation-sketch.png" in draw_analysis(folder.path).figures
    (folder.figures / "mine.png").write_text("mine")
    before = Analysis.read(folder.analysis)
    before.model_copy(update={"ablation": None}).write(folder.analysis)
    found = draw_analysis(folder.path)
    there = {path.name for path in folder.figures.iterdir() if path.is_file()}
    assert there == {*found.figures, "index.json", "mine.png"}
    assert "ablation-sketch.png" not in there
    folder.prepare(overwrite=True)
    assert {path.name for path in folder.path.rglob("*") if path.is_file()} == {"mine.png", "small.webp"}


def test_tables_hold_the_numbers(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_figures, "run_figures", few)
    found = draw_analysis(folder.path)

    def rows(name: str) -> list[dict[str, str]]:
        return list(csv.DictReader((folder.figures / f"{name}.csv").open()))

    assert {row["ensemble"]: float(row["sketch"]) for row in rows("mask_by_domain")} == {
        name: row["sketch"] for name, row in found.mask_by_domain.items()
    }
    assert [row["domain"] for row in rows("nearest_source")] == list(found.mask_by_domain_splits)
    assert sum(float(rows("nearest_source")[-1][f"share_{name}"]) for name in ("photo", "art", "cartoon")) == (
        pytest.approx(1)
    )
    assert found.ablation is not None
    assert len(rows("ablation")) == len(found.mask_by_domain_splits) * len(found.ablation.rows)
    assert rows("ablation")[0]["neurons"] == "0"
    assert sum(int(row["count"]) for row in rows("confusion")) == sum(one.images for one in found.calibration.values())
    assert found.sites is not None
    assert {row["value"] for row in rows("sites") if row["measure"] == "neurons"} == {"20"}
    assert rows("epochs")[0]["overall_iou"] == ""


def test_letters_that_no_font_has_are_noted_once(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_figures, "run_figures", few)
    monkeypatch.setattr(fonts, "missing", lambda letters: "网")
    for _ in range(2):
        notes = draw_analysis(folder.path).notes
        assert notes[0] == "what is left out"
        assert [note for note in notes if "网" in note] == notes[1:]
        assert len(notes) == 2


def test_a_run_that_was_not_analyzed_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"analysis\.json"):
        draw_analysis(tmp_path)
