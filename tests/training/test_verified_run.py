"""Images that cannot be read, from the first training to the evaluation and the benchmark."""

from __future__ import annotations

from pathlib import Path

import pytest

import generated
from domain_masks.data import load_folder
from domain_masks.errors import InputError
from domain_masks.experiments import execute_plan, leave_one_out
from domain_masks.progress import ConsoleReporter
from domain_masks.records.config import RunConfig
from domain_masks.records.predictions import Predictions
from domain_masks.training import evaluate, run
from trees_of_images import clean, cut

QUIET = ConsoleReporter(quiet=True)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return clean(tmp_path / "animals")


def settings(tree: Path, **changes: object) -> RunConfig:
    return generated.config(dataset=str(tree), target="sketch", epochs=1, **changes)


def test_a_run_refuses_and_leaves_nothing_behind(tree: Path, tmp_path: Path) -> None:
    cut(tree / "sketch" / "dog" / "1.jpg")
    with pytest.raises(InputError, match=r"(?s)1 of 60 images.*sketch/dog/1\.jpg.*--skip_bad"):
        run(settings(tree), tmp_path / "run", reporter=QUIET)
    assert not (tmp_path / "run").exists()


def test_without_verification_the_broken_image_is_met_later(tree: Path, tmp_path: Path) -> None:
    cut(tree / "sketch" / "dog" / "1.jpg")
    with pytest.raises(InputError, match=r"image 'sketch/dog/1\.jpg' cannot be read"):
        run(settings(tree, verify=False), tmp_path / "run", reporter=QUIET)
    assert (tmp_path / "run" / "checkpoints" / "last.ckpt").exists()


def test_a_run_and_its_evaluation_leave_out_the_same(tree: Path, tmp_path: Path) -> None:
    cut(tree / "sketch" / "dog" / "1.jpg")
    cut(tree / "photo" / "dog" / "2.png")
    first = run(settings(tree, skip_bad=True), tmp_path / "run", reporter=QUIET)
    before = Predictions.load(first.folder.predictions)
    assert "sketch/dog/1.jpg" not in set(before.ids)
    assert first.results.out_of_domain.count == 19
    again = evaluate(tmp_path / "run", QUIET)
    assert again.results.out_of_domain == first.results.out_of_domain
    assert list(Predictions.load(again.folder.predictions).ids) == list(before.ids)


def test_a_benchmark_verifies_once_and_refuses_before_its_runs(tree: Path, tmp_path: Path) -> None:
    dataset = load_folder(tree)
    plan = leave_one_out(settings(tree), dataset, ["aggregate"], ["sketch", "photo"], [0], tmp_path / "bench")
    bad = cut(tree / "art" / "dog" / "1.jpg")
    with pytest.raises(InputError, match=r"art/dog/1\.jpg"):
        execute_plan(plan, load_folder(tree), QUIET)
    assert not any((tmp_path / "bench").rglob("metrics.csv"))
    bad.write_bytes((tree / "art" / "dog" / "3.jpg").read_bytes())
    said: list[str] = []

    class Words(ConsoleReporter):
        def say(self, line: str) -> None:
            said.append(line)

    outcome = execute_plan(plan, load_folder(tree), Words(quiet=True))
    assert (len(outcome.results), outcome.failed) == (2, {})
    assert [line for line in said if line.startswith("verifying")] == ["verifying 1 of 60 images of animals"]
    # What is done needs no images.
    cut(bad)
    assert len(execute_plan(plan, dataset, QUIET).results) == 2
