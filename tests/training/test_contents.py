"""Runs whose images have changed since: going on, measuring again, and benchmarks over datasets of equal names."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pytest
from PIL import Image

import generated
from domain_masks.data import identified, load_folder
from domain_masks.errors import InputError, RunFolderError
from domain_masks.evaluation.variants import variants
from domain_masks.experiments import execute_plan, leave_one_out
from domain_masks.progress import ConsoleReporter
from domain_masks.records import RunFolder, write_json
from domain_masks.records.collection import collect
from domain_masks.records.config import RunConfig
from domain_masks.records.identity import CONTENT, INPUTS, inputs_noted
from domain_masks.report.runs.groups import groups_of
from domain_masks.training import evaluate, run
from reporters import RecordingReporter
from trees_of_images import clean, pixels

QUIET = ConsoleReporter(quiet=True)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return clean(tmp_path / "v1" / "animals")


def settings(tree: Path, **changes: object) -> RunConfig:
    values = {"method": "aggregate", "target": "sketch", "epochs": 1, "domain_classifier": False, **changes}
    return generated.config(dataset=str(tree), **values)


def change(tree: Path, name: str) -> None:
    Image.fromarray(pixels(12345)).save(tree / name)


def forget_content(folder: Path) -> None:
    """Make a run look as versions left it that did not note what images hold."""
    path = RunFolder(folder).environment
    environment = json.loads(path.read_text())
    del environment[INPUTS][CONTENT]
    write_json(path, environment)


def benchmark(tree: Path, out: Path) -> tuple[list[str], list[str]]:
    words = RecordingReporter()
    config = settings(tree)
    dataset = identified(load_folder(tree), config, QUIET)
    outcome = execute_plan(leave_one_out(config, dataset, ["aggregate"], ["sketch"], [0], out), dataset, words)
    assert not outcome.failed
    return [planned.name for planned, _ in outcome.runs], words.lines


def done(lines: list[str]) -> bool:
    return any("done already" in line for line in lines)


def test_a_benchmark_takes_runs_on_other_images_for_other_runs(tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "bench"
    first, said = benchmark(tree, out)
    assert not done(said)
    # The same names and classes, every image another one.
    other = tmp_path / "v2" / "animals"
    shutil.copytree(tree, other)
    for number, path in enumerate(sorted(other.rglob("*.png"))):
        Image.fromarray(pixels(1000 + number)).save(path)
    second, said = benchmark(other, out)
    assert not done(said)
    assert second != first
    for root, names in ((tree, first), (other, second)):
        again, said = benchmark(root, out)
        assert done(said)
        assert again == names
    # A copy is the same dataset; one image edited is not.
    moved = tmp_path / "v3" / "animals"
    shutil.copytree(other, moved)
    assert benchmark(moved, out)[0] == second
    change(moved, "photo/dog/2.png")
    third, said = benchmark(moved, out)
    assert not done(said)
    assert third[0] not in (*first, *second)
    # Nor does a report or a choice put them together.
    records = collect([out]).runs
    assert len(records) == 3
    assert sorted(len(group.records) for group in groups_of(records)) == [1, 1, 1]
    assert all("images " in group.title for group in groups_of(records))
    with pytest.raises(InputError, match="got 3 called 'animals' whose images"):
        variants(records)


def test_a_run_of_unknown_content_counts_by_its_names_and_says_so(tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "bench"
    first, said = benchmark(tree, out)
    assert not any("unknown" in line for line in said)
    forget_content(out / first[0])
    again, said = benchmark(tree, out)
    assert again == first
    assert done(said)
    assert sum("did not record what the images hold" in line for line in said) == 1
    words = RecordingReporter()
    evaluate(out / first[0], words)
    assert CONTENT not in inputs_noted(RunFolder(out / first[0])), (
        "nothing is known of the images that it was trained on"
    )
    # In a report it stays with the runs of the one dataset that it can be of.
    run(settings(tree, seed=1), out / "another", reporter=QUIET)
    (group,) = groups_of(collect([out]).runs)
    assert len(group.records) == 2
    assert any("1 of 2 runs" in problem and "unknown" in problem for problem in group.problems)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def interrupted(tree: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that ends after its training, before anything is measured."""
    with monkeypatch.context() as patched:
        patched.setattr(
            sys.modules["domain_masks.training.run"], "finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        with pytest.raises(KeyboardInterrupt):
            run(settings(tree), folder, reporter=QUIET)


@pytest.mark.parametrize("again", ["resume", "evaluate"])
def test_changed_source_images_are_refused(tree: Path, tmp_path: Path, again: str, monkeypatch) -> None:
    folder = tmp_path / "run"
    interrupted(tree, folder, monkeypatch)
    for name in ("photo/dog/2.png", "photo/dog/4.png", "photo/cat/2.png", "photo/cat/4.png", "art/cat/6.png"):
        change(tree, name)
    message = r"of [0-9]+ training and validation images, such as .*animals.* no longer hold what they held"
    with pytest.raises(RunFolderError, match=message):
        run(settings(tree), folder, reporter=QUIET, resume=True) if again == "resume" else evaluate(folder, QUIET)


def test_changed_held_out_images_are_measured_and_said(tree: Path, tmp_path: Path, monkeypatch) -> None:
    folder = tmp_path / "run"
    interrupted(tree, folder, monkeypatch)
    before = inputs_noted(RunFolder(folder))[CONTENT]
    change(tree, "sketch/dog/2.png")
    words = RecordingReporter()
    run(settings(tree), folder, reporter=words, resume=True)
    (line,) = [line for line in words.lines if "held-out images" in line and "no longer hold" in line]
    assert line.startswith("note: 1 of 20 held-out images, such as 'sketch/dog/2.png', no longer hold")
    measured = inputs_noted(RunFolder(folder))[CONTENT]
    assert measured != before
    # It is now known by the images that it was measured on.
    run(settings(tree), folder, reporter=QUIET, resume=True)
    change(tree, "sketch/dog/4.png")
    with pytest.raises(RunFolderError, match=r"holds a finished run on other images.*dmg evaluate"):
        run(settings(tree), folder, reporter=QUIET, resume=True)
    words = RecordingReporter()
    evaluate(folder, words)
    assert any("held-out images" in line and "no longer hold" in line for line in words.lines)
    assert inputs_noted(RunFolder(folder))[CONTENT] not in (before, measured)
    run(settings(tree), folder, reporter=QUIET, resume=True)


def test_frozen_features_are_those_of_the_images_that_are_there(tree: Path, tmp_path: Path) -> None:
    """An image replaced by another of the same size and time gives other features, and with them another result."""
    frozen = {"freeze_features": True, "views": 1, "augmentation": "none", "target": "sketch"}
    first = run(settings(tree, **frozen), tmp_path / "first", reporter=QUIET)
    same = run(settings(tree, **frozen), tmp_path / "same", reporter=QUIET)
    assert first.folder.predictions.read_bytes() == same.folder.predictions.read_bytes()
    path = tree / "sketch" / "dog" / "2.png"
    status = path.stat()
    for seed in range(1000, 1100):
        # Noise gives files of nearly equal sizes: one of the same size is soon found.
        Image.fromarray(pixels(seed)).save(path)
        if path.stat().st_size == status.st_size:
            break
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    other = run(settings(tree, **frozen), tmp_path / "other", reporter=QUIET)
    assert first.folder.predictions.read_bytes() != other.folder.predictions.read_bytes()
