"""Runs on images that are kept decoded are, to the last bit, those on files."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import generated
from domain_masks.cli import main
from domain_masks.data import ImageDataset, load_folder
from domain_masks.data import image_cache as image_cache_module
from domain_masks.data.stored_images import StoredImages
from domain_masks.experiments.run_index import key_of
from domain_masks.records import MetricsLog, RunFolder
from domain_masks.records.cache import cache_folder
from domain_masks.training import evaluate, run
from domain_masks.training.defaults import resolve
from reporters import RecordingReporter

TIMES = ("seconds", "images_per_second")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of three domains as files, most of them JPEG that is reduced on the way to 16 pixels."""
    root, made = tmp_path_factory.mktemp("images") / "colours", generated.dataset(8)
    for row, name in enumerate(made.ids):
        path = (root / name).with_suffix(".png" if row % 5 == 0 else ".jpg")
        path.parent.mkdir(parents=True, exist_ok=True)
        made.open_image(row).resize((60 + row % 30, 75), Image.Resampling.BICUBIC).save(path)
    return root


@pytest.fixture
def files(root: Path) -> ImageDataset:
    return load_folder(root)


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders that images are decoded into, each time they are."""
    folders: list[Path] = []
    build = image_cache_module._built

    def noted(source: Any, folder: Path, *arguments: Any) -> StoredImages:
        folders.append(folder)
        return build(source, folder, *arguments)

    monkeypatch.setattr(image_cache_module, "_built", noted)
    return folders


def learned(files: ImageDataset, out: Path, **changes: Any) -> tuple[str, list[dict[str, Any]], str]:
    """Return what a run has learned and measured: hashes of its model and predictions, and its metrics but for the times."""
    settings = {"augmentation": "pacs", "epochs": 2, **changes}
    run(generated.config(**settings), out, dataset=files, reporter=RecordingReporter())
    folder = RunFolder(out)
    rows = [{name: row[name] for name in row if name not in TIMES} for row in MetricsLog(folder.metrics).read()]
    model, predictions = (hashlib.sha256(path.read_bytes()).hexdigest() for path in (folder.model, folder.predictions))
    return model, rows, predictions


@pytest.mark.parametrize("place", ["disk", "memory", "device"])
def test_a_run_learns_what_it_would_from_files(
    place: str, files: ImageDataset, built: list[Path], tmp_path: Path
) -> None:
    plain = learned(files, tmp_path / "plain")
    assert built == []
    assert learned(files, tmp_path / "cached", cache=place) == plain
    assert len(built) == 1
    assert built[0].is_relative_to(cache_folder()) == (place != "memory")
    assert built[0].exists() == (place != "memory")


def test_a_benchmark_decodes_once_for_all_held_out_domains(
    root: Path, built: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    flags = ["--dataset", str(root), "--backbone", "small", "--weights", "none", "--size", "16", "--epochs", "1"]
    flags += ["--batch", "16", "--device", "cpu", "--workers", "0", "--quiet"]
    targets = ["--methods", "aggregate", "--targets", "dots", "plain", "stripes"]
    for place in ("disk", "memory"):
        assert main(["benchmark", *flags, *targets, "--cache", place, "--out", f"runs-{place}"]) == 0
        assert len(built) == 1
        assert built.pop().exists() == (place == "disk")


def test_the_cache_is_no_part_of_what_a_run_computes(files: ImageDataset) -> None:
    keys = {
        key_of(resolve(generated.config(cache=place), files), files.domains) for place in ("none", "disk", "memory")
    }
    assert len(keys) == 1


def test_a_run_is_measured_again_from_files(files: ImageDataset, built: list[Path], tmp_path: Path) -> None:
    first = run(
        generated.config(cache="disk", epochs=1), tmp_path / "r", dataset=files, reporter=RecordingReporter()
    ).results
    assert len(built) == 1
    again = evaluate(tmp_path / "r", RecordingReporter(), dataset=files).results
    assert again.out_of_domain == first.out_of_domain


def test_where_nothing_is_to_be_kept_a_run_says_so(files: ImageDataset, built: list[Path], tmp_path: Path) -> None:
    for name, dataset, changes, expected in (
        ("memory", generated.dataset(8), {}, "cache: the images of generated are in memory already"),
        ("frozen", files, {"freeze_features": True}, "cache: features are frozen, and kept instead of images"),
    ):
        told = RecordingReporter()
        config = generated.config(cache="disk", epochs=1, **changes)
        run(config, tmp_path / name, dataset=dataset, reporter=told)
        assert expected in told.lines
    assert built == []


def test_images_are_decoded_ahead_shown_and_removed(
    root: Path, built: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--dataset", str(root), "--backbone", "small", "--weights", "none", "--size", "16", "--cache", "disk"]
    assert main(["data", "cache", *flags, "--workers", "0"]) == 0
    assert "72 images" in (shown := capsys.readouterr().out)
    assert "verified, images cached" in shown
    assert len(built) == 1
    assert main(["data", "cache"]) == 0
    assert re.search(r"images +0\.[1-9] MiB in 3 files: decoded images", capsys.readouterr().out)
    assert main(["data", "cache", "--clear", "images"]) == 0
    assert not built[0].exists()
