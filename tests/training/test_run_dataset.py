"""The dataset of a run: images that can be read, and positions found by names where it has changed since the training."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import generated
import trees_of_images
from domain_masks.data import ImageDataset, load_dataset, load_folder
from domain_masks.data.label_alignment import aligned, lost_classes
from domain_masks.data.openers import FileOpener
from domain_masks.errors import InputError, RunFolderError
from domain_masks.experiments import execute_plan, leave_one_out
from domain_masks.progress import ConsoleReporter
from domain_masks.records.config import RunConfig, parse_config
from domain_masks.records.predictions import Predictions
from domain_masks.training import evaluate, run
from trees_of_images import clean, cut

SETTINGS = {"backbone": "small", "weights": "none", "size": 32, "epochs": 1, "target": ["sketch"], "method": "dmg"}


class Silent:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)

    def track(self, items: Any, total: int, what: str) -> Any:
        yield from items


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("trained")
    trees_of_images.clean(root / "tree")
    run(parse_config({**SETTINGS, "dataset": str(root / "tree")}), root / "run", reporter=Silent())
    return root


@pytest.fixture
def root(trained: Path, tmp_path: Path) -> Path:
    shutil.copytree(trained, tmp_path / "copy")
    return tmp_path / "copy"


def again(root: Path, dataset: ImageDataset | None = None) -> Any:
    silent = Silent()
    found = evaluate(root / "run", silent, dataset=dataset, changes={"dataset": str(root / "tree")})
    return found.results, silent.lines


def in_other_order(dataset: ImageDataset) -> ImageDataset:
    """The same images; class 0 is now class 1, and the domains come the other way round."""
    rows = range(len(dataset))
    last = len(dataset.domains) - 1
    return ImageDataset(
        name=dataset.name,
        classes=dataset.classes[::-1],
        domains=dataset.domains[::-1],
        ids=dataset.ids,
        labels=len(dataset.classes) - 1 - dataset.labels,
        domain_indices=last - dataset.domain_indices,
        splits=None,
        open_image=FileOpener(Path(dataset.open_image.root), tuple(dataset.ids[row] for row in rows)),  # type: ignore[attr-defined]
        fingerprint="other",
    )


def test_names_decide_not_positions(root: Path) -> None:
    before, _ = again(root)
    after, _ = again(root, in_other_order(load_dataset(root / "tree")))
    assert after.out_of_domain == before.out_of_domain
    assert after.in_domain == before.in_domain
    assert after.sources == before.sources


def test_a_run_that_starts_from_another_keeps_its_order(root: Path) -> None:
    dataset = in_other_order(load_dataset(root / "tree"))
    config = parse_config({**SETTINGS, "dataset": str(root / "tree"), "init_from": str(root / "run"), "lr": 1e-12})
    second = run(config, root / "second", dataset=dataset, reporter=Silent())
    first, _ = again(root)
    assert second.results.out_of_domain is not None
    assert first.out_of_domain is not None
    assert second.results.out_of_domain.accuracy == first.out_of_domain.accuracy


@pytest.mark.parametrize("name", ["aardvark", "zebra"])
def test_a_class_that_the_held_out_domain_has_gained_is_named(root: Path, name: str) -> None:
    trees_of_images.save(root / "tree" / "sketch" / name / "1.png", 1)
    with pytest.raises(InputError) as caught:
        again(root)
    assert f"a class '{name}' (1 image in sketch)" in str(caught.value)
    assert "overwrite" not in str(caught.value)


def test_a_new_domain_is_named(root: Path) -> None:
    trees_of_images.save(root / "tree" / "clipart" / "cat" / "1.png", 1)
    with pytest.raises(InputError, match="a domain 'clipart' \\(1 image\\)"):
        again(root)


def test_a_class_that_the_held_out_domain_has_lost_is_measured_without(root: Path) -> None:
    shutil.rmtree(root / "tree" / "sketch" / "cat")
    results, lines = again(root)
    assert results.out_of_domain.count == 10
    assert not [line for line in lines if "has no images of the class" in line]


def test_a_class_that_is_gone_keeps_its_position(root: Path) -> None:
    with_third = root / "tree" / "sketch" / "ape"
    trees_of_images.save(with_third / "1.png", 5)
    trees_of_images.save(with_third / "2.png", 6)
    config = parse_config({**SETTINGS, "dataset": str(root / "tree")})
    run(config, root / "third", reporter=Silent())
    shutil.rmtree(with_third)
    silent = Silent()
    evaluate(root / "third", silent)
    assert any("has no images of the class 'ape'" in line for line in silent.lines)


def test_lost_sources_are_refused_without_losing_the_run(root: Path) -> None:
    shutil.rmtree(root / "tree" / "art" / "cat")
    with pytest.raises(RunFolderError) as caught:
        again(root)
    assert "--overwrite" not in str(caught.value)


def test_positions_of_a_dataset_by_name() -> None:
    dataset = in_other_order(_dataset())
    found = aligned(dataset, ("a", "b", "c"), ("x", "y"), "the model")
    assert found.classes == ("a", "b", "c")
    assert found.domains == ("x", "y")
    assert found.labels.tolist() == [0, 1]
    assert found.domain_indices.tolist() == [0, 1]
    assert lost_classes(found, found.classes) == ("c",)
    with pytest.raises(InputError, match="a class 'b' \\(1 image in y\\)"):
        aligned(dataset, ("a",), ("x", "y"), "the model")


def _dataset() -> ImageDataset:
    return ImageDataset(
        name="two",
        classes=("a", "b"),
        domains=("x", "y"),
        ids=("x/a/1", "y/b/1"),
        labels=np.array([0, 1]),
        domain_indices=np.array([0, 1]),
        splits=None,
        open_image=FileOpener(Path("/"), ("x/a/1", "y/b/1")),
        fingerprint="two",
    )


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
