"""The accuracies of the pruning curve: on the images that the run was validated on, or on none."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import domain_masks as dm
import trees_of_images
from domain_masks.data import load_dataset, split_domains
from domain_masks.deploy import load
from domain_masks.deploy.run_data import run_data
from domain_masks.errors import InputError, RunFolderError
from domain_masks.records.predictions import Predictions


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on a manifest, that has left out an unreadable image: one that would be of validation."""
    root = tmp_path_factory.mktemp("trained")
    tree = trees_of_images.clean(root / "tree")
    write(root, rows(tree))
    unreadable = split_domains(load_dataset(str(root / "list.csv"), tree), ("sketch",)).validation.ids[0]
    trees_of_images.cut(tree / unreadable, 0.1)
    dm.train(
        dataset=str(root / "list.csv"),
        root=str(tree),
        target="sketch",
        backbone="small",
        weights="none",
        size=32,
        epochs=1,
        workers=0,
        skip_bad=True,
        quiet=True,
        out=root / "run",
    )
    return root


@pytest.fixture
def place(trained: Path, tmp_path: Path) -> Path:
    shutil.copytree(trained, tmp_path / "copy")
    return tmp_path / "copy"


def rows(tree: Path) -> list[tuple[str, str, str]]:
    """Path, class and domain of every image; no lists, so that a run divides them itself."""
    return sorted((str(path.relative_to(tree)), path.parts[-2], path.parts[-3]) for path in tree.rglob("*.*"))


def write(place: Path, images: list[tuple[str, str, str]]) -> None:
    with (place / "list.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label", "domain"), *images])


def curve(place: Path, model: str = "run", quiet: bool = True) -> pd.DataFrame:
    """The curve of a model, on the images that lie in ``place``."""
    points = dm.export(
        place / model,
        prune=[0.0, 0.1],
        format="pt2",
        quiet=quiet,
        dataset=str(place / "list.csv"),
        root=place / "tree",
        out=place / "curve.csv",
    )
    assert isinstance(points, pd.DataFrame)
    return points


def test_its_first_point_has_the_accuracies_of_the_run(place: Path) -> None:
    predictions = Predictions.load(place / "run" / "predictions.npz")
    first = curve(place).iloc[0]
    for split in ("validation", "held_out"):
        part = predictions.select(split=split)
        right = part.of("masks").argmax(1) == part.labels
        expected = np.mean([right[part.domains == domain].mean() for domain in np.unique(part.domains)])
        assert first[split] == pytest.approx(expected), split


def test_images_that_would_be_divided_differently_are_refused(place: Path) -> None:
    images = rows(place / "tree")
    write(place, [image for image in images if image[0] != "art/dog/1.jpg"])
    with pytest.raises(RunFolderError, match="no longer those that the run was started with"):
        curve(place)
    assert not (place / "curve.csv").exists()


def test_images_of_validation_with_another_content_are_refused(place: Path) -> None:
    for path in (place / "tree" / "photo").rglob("*.png"):
        trees_of_images.save(path, 1000)
    with pytest.raises(RunFolderError, match="no longer hold what they held"):
        curve(place)


def test_a_domain_that_is_no_source_is_named(place: Path) -> None:
    trees_of_images.save(place / "tree" / "clipart" / "cat" / "1.png", 1)
    write(place, rows(place / "tree"))
    with pytest.raises(InputError, match="a domain 'clipart' \\(1 image\\)"):
        curve(place)


def test_a_model_without_its_checkpoint_is_measured_on_held_out_images_alone(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "model").mkdir()
    for name in ("model.json", "model.safetensors", "config.yaml"):
        shutil.copy(place / "run" / name, place / "model")
    points = curve(place, "model", quiet=False)
    said = capsys.readouterr()
    assert "no accuracy on validation images" in said.out + said.err
    assert "last.ckpt is missing" in said.out + said.err
    assert points["validation"].isna().all()
    assert points["held_out"].tolist() == curve(place)["held_out"].tolist()


def test_images_of_other_domains_than_the_models_are_no_images_of_the_sources(place: Path) -> None:
    trees_of_images.save(place / "tree" / "clipart" / "cat" / "1.png", 1)
    write(place, rows(place / "tree"))
    changes = {"dataset": str(place / "list.csv"), "root": str(place / "tree")}
    data = run_data(place / "run", load(place / "run", device="cpu").card, changes)
    assert data is not None
    assert data.splits.sources == ("art", "photo")
