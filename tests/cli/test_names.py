"""Names of files that are no UTF-8, outputs that are closed or full, and a single source, from the command line."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

import trees_of_images
from domain_masks.cli import main
from domain_masks.deploy import load
from domain_masks.records import Predictions, Results

ODD = os.fsdecode(b"caf\xe9")
SETTINGS = (
    "--backbone",
    "small",
    "--weights",
    "none",
    "--size",
    "32",
    "--epochs",
    "1",
    "--device",
    "cpu",
    "--workers",
    "0",
)

pytestmark = pytest.mark.skipif(sys.platform == "darwin", reason="its file system takes no such names")


def train(dataset: Path, out: Path, *words: str) -> int:
    return main(["train", "--dataset", str(dataset), *SETTINGS, "--out", str(out), *words])


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset in a folder of such a name, with such an image in every class, and a run in another one."""
    root = tmp_path_factory.mktemp("names") / ODD
    for folder in sorted(trees_of_images.clean(root / "tree").glob("*/*")):
        (folder / "1.jpg").rename(folder / f"{ODD}.jpg")
    trees_of_images.clean(root / ODD)
    assert train(root / ODD, root / f"run-{ODD}", "--target", "sketch", "--quiet") == 0
    return root


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_run_in_a_folder_of_any_name_can_be_looked_at_in_every_way(root: Path) -> None:
    run = root / f"run-{ODD}"
    assert Results.read(run / "results.json").dataset == "caf\\udce9"
    for words in (["evaluate"], ["analyze"], ["report", "--out", str(run / f"page-{ODD}.html")]):
        assert main([words[0], str(run), *words[1:]]) == 0
    assert train(root / ODD, run, "--target", "sketch", "--resume") == 0
    assert load(run).sources == ("art", "photo")


def test_images_of_any_name_are_trained_on_measured_and_shown(root: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert train(root / "tree", run, "--target", "sketch") == 0
    assert f"sketch/cat/{ODD}.jpg" in Predictions.load(run / "predictions.npz").ids
    for command in ("analyze", "report", "evaluate"):
        assert main([command, str(run)]) == 0


@pytest.mark.parametrize("ending", ["csv", "json", "jsonl"])
def test_a_file_is_predicted_as_in_its_folder(root: Path, ending: str) -> None:
    run, file = root / f"run-{ODD}", root / "tree" / "art" / "cat" / f"{ODD}.jpg"
    alone, within = Path(f"alone-{ODD}.{ending}"), Path(f"folder.{ending}")
    assert main(["predict", str(run), str(file), "--device", "cpu", "--out", str(alone)]) == 0
    assert main(["predict", str(run), str(file.parent), "--device", "cpu", "--out", str(within)]) == 0
    lines = [line.rstrip(b",") for line in within.read_bytes().splitlines()]
    row = next(line for line in alone.read_bytes().splitlines() if b"caf" in line.rpartition(b"cat/")[2])
    assert row.rstrip(b",") in lines
    if ending == "json":
        assert json.loads(alone.read_text())[0]["path"] == str(file)


@pytest.mark.parametrize("level", ["class", "domain"])
def test_a_class_or_domain_of_such_a_name_is_one_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], level: str
) -> None:
    tree = trees_of_images.clean(tmp_path / "tree")
    before = tree / "art" / "cat" if level == "class" else tree / "art"
    before.rename(before.with_name(ODD))
    assert train(tree, tmp_path / "run", "--target", "sketch") == 2
    message = capsys.readouterr().err
    assert f"got the {level} 'caf\\udce9'" in message
    assert "Traceback" not in message
    assert main(["data", "check", str(tree)]) == 1


def test_an_ascii_terminal_shows_what_it_can(root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tree = trees_of_images.clean(tmp_path / "tr\u00e9e")
    (tree / "art" / "cat").rename(tree / "art" / "\u732b")
    run = str(root / f"run-{ODD}")
    for words in (["data", "list"], ["data", "check"], ["predict", run]):
        with (tmp_path / "terminal").open("w", encoding="ascii") as stream:
            monkeypatch.setattr(sys, "stdout", stream)
            monkeypatch.setattr(sys, "stderr", stream)
            assert main([*words, str(tree)]) in (0, 1)
        monkeypatch.undo()
        monkeypatch.chdir(tmp_path)


def test_a_closed_output_is_told_before_anything_is_predicted(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["predict", str(root / f"run-{ODD}"), str(root / "tree" / "art"), "--device", "cpu"]
    monkeypatch.setattr(sys, "stdout", None)
    assert main(words) == 2
    assert capsys.readouterr().err.startswith("dmg: standard output is closed")
    monkeypatch.setattr(sys, "stdout", None)
    assert main([*words, "--out", "rows.csv"]) == 0
    assert len(Path("rows.csv").read_text(errors="surrogateescape").splitlines()) == 21


@pytest.mark.parametrize("words", [["data", "list"], ["methods"], ["completion", "bash"], ["train", "--print_config"]])
def test_answers_that_nobody_can_read_are_no_success(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    assert main(words) == 2
    assert "standard output is closed" in capsys.readouterr().err
    monkeypatch.setattr(sys, "stdout", None)
    assert main([*words, "--help"]) == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("command", ["list", "methods", "predict", "evaluate"])
def test_a_full_disk_behind_standard_output_is_one_message(
    root: Path, command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(root / f"run-{ODD}")
    words = {
        "list": ["data", "list"],
        "methods": ["methods"],
        "predict": ["predict", run, str(root / "tree" / "art"), "--device", "cpu"],
        "evaluate": ["evaluate", run],
    }
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert main(words[command]) == 2
        monkeypatch.undo()
    message = capsys.readouterr().err
    assert "cannot write standard output: No space left on device" in message
    assert "Traceback" not in message


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("word", ["--help", "--version", "help"])
def test_a_full_disk_behind_an_output_without_a_buffer_is_one_message(
    word: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Path("/dev/full").open("wb", buffering=0) as full:
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(full, write_through=True))
        assert main([word]) == 2
        monkeypatch.undo()
    message = capsys.readouterr().err
    assert "cannot write standard output: No space left on device" in message
    assert "Traceback" not in message


def test_one_source_is_enough_for_what_compares_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tree, run = trees_of_images.clean(tmp_path / "tree"), tmp_path / "run"
    single = ["--target", "art,photo"]
    assert train(tree, tmp_path / "dmg", *single) == 2
    assert "two source domains" in capsys.readouterr().err
    for method in ("multi_headed", "aggregate"):
        assert train(tree, run, *single, "--method", method, "--overwrite") == 0
    results = Results.read(run / "results.json")
    assert results.sources == ["sketch"]
    assert results.out_of_domain is not None
    assert results.in_domain is not None
    assert set(results.out_of_domain.per_domain) == {"art", "photo"}
    assert set(results.in_domain.per_domain) == {"sketch"}
    for words in (
        ["evaluate", str(run)],
        ["analyze", str(run)],
        ["report", str(tmp_path)],
        ["predict", str(run), str(tree)],
    ):
        assert main(words) == 0, words
    assert train(tree, tmp_path / "all", "--target", "art,photo,sketch", "--method", "aggregate") == 2


def test_a_benchmark_over_single_sources(tmp_path: Path) -> None:
    tree, out = trees_of_images.clean(tmp_path / "tree"), tmp_path / "runs"
    words = ["--dataset", str(tree), *SETTINGS, "--methods", "aggregate", "--targets", "art,photo", "photo,sketch"]
    assert main(["benchmark", *words, "--out", str(out), "--dry_run"]) == 0
    assert main(["benchmark", *words, "--out", str(out)]) == 0
    found = [Results.read(path) for path in sorted(out.glob("**/results.json"))]
    assert [one.sources for one in found] == [["sketch"], ["art"]] or [one.sources for one in found] == [
        ["art"],
        ["sketch"],
    ]
    assert all(np.isfinite(one.out_of_domain.accuracy) for one in found if one.out_of_domain is not None)


def test_a_file_that_other_libraries_write_needs_a_name_in_utf8(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = str(root / f"run-{ODD}")
    assert main(["export", run, "--format", "pt2", "--ensemble", "masks"]) == 2
    assert "expected a name in UTF-8" in capsys.readouterr().err
    assert main(["export", run, "--format", "pt2", "--ensemble", "masks", "--out", "masks.pt2", "--quiet"]) == 0
