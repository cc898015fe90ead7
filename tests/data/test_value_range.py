"""Images deeper than 8 bits: what is said of their range, and how it is chosen, recorded and used again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import generated
from domain_masks.data import Preprocessing, to_rgb
from domain_masks.data.checking.examination import check
from domain_masks.data.image_modes import range_holding
from domain_masks.deploy import load
from domain_masks.errors import InputError
from domain_masks.progress import ConsoleReporter
from domain_masks.records.config import RunConfig, parse_config, read_config
from domain_masks.training import evaluate, run

QUIET = ConsoleReporter(quiet=True)
NAMES = [f"{domain}/{label}/{number}.tif" for domain in "abc" for label in "xy" for number in range(10)]


def tree(root: Path, largest: float, dtype: str = "uint16", lowest: float = 0) -> Path:
    """Noise that fills a range; the type of the files says nothing of it."""
    random = np.random.default_rng(0)
    for name in NAMES:
        values = random.uniform(lowest, largest, (20, 20))
        values[0, :2] = lowest, largest
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if dtype == "big endian":
            image = Image.frombytes("I;16B", (20, 20), np.rint(values).astype(">u2").tobytes())
        else:
            image = Image.fromarray(np.rint(values).astype(dtype) if "float" not in dtype else values.astype(dtype))
        image.save(path)
    return root


@pytest.mark.parametrize(
    ("dtype", "lowest", "largest", "own"),
    [
        ("uint16", 0, 1000, "0,1023"),
        ("uint16", 0, 4011, "0,4095"),
        ("uint16", 0, 16000, "0,16383"),
        ("uint16", 0, 200, "0,255"),
        ("big endian", 0, 4011, "0,4095"),
        ("int32", 0, 4011, "0,4095"),
        ("int32", -1024, 3071, "-1024,3071"),
        ("float32", 0, 4095, "0,4095"),
        ("float32", -1, 1, "-1,1"),
    ],
)
def test_check_names_images_that_fill_little_of_their_range(
    tmp_path: Path, dtype: str, lowest: float, largest: float, own: str
) -> None:
    report = check(str(tree(tmp_path / "scans", largest, dtype, lowest)), None, 0, QUIET)
    (finding,) = [finding for finding in report.findings if finding.code == "depth"]
    assert finding.what.startswith("60 images deeper than 8 bits")
    assert f"{lowest:.6g} to {largest:.6g}" in finding.what
    assert f"--value_range {own}, or --value_range dataset" in finding.advice
    if (dtype, largest) == ("uint16", 4011):
        assert "17 of 256 levels" in finding.advice


@pytest.mark.parametrize(
    ("dtype", "largest"), [("uint16", 65535), ("uint16", 40000), ("float32", 1.0), ("float32", 255)]
)
def test_nothing_is_said_where_the_range_is_filled(tmp_path: Path, dtype: str, largest: float) -> None:
    report = check(str(tree(tmp_path / "scans", largest, dtype)), None, 0, QUIET)
    assert "depth" not in {finding.code for finding in report.findings}


def test_images_that_would_be_scaled_one_by_one_are_named(tmp_path: Path) -> None:
    root = tree(tmp_path / "scans", 60000, "int32")
    Image.fromarray(np.full((20, 20), 200, dtype=np.int32)).save(root / NAMES[0])
    report = check(str(root), None, 0, QUIET)
    (finding,) = [finding for finding in report.findings if finding.code == "depth"]
    assert finding.what.startswith("1 image deeper")
    assert "image by image" in finding.advice


def test_a_range_scales_and_clips_every_deep_mode() -> None:
    values = np.array([[0, 2048, 4095, 60000]], dtype=np.uint16)
    for image in (
        Image.fromarray(values),
        Image.frombytes("I;16B", (4, 1), values.astype(">u2").tobytes()),
        Image.fromarray(values.astype(np.int32)),
        Image.fromarray(values.astype(np.float32)),
    ):
        assert np.asarray(to_rgb(image, (0, 4095)))[0, :, 0].tolist() == [0, 128, 255, 255]
        assert np.asarray(to_rgb(image, (2048, 4095)))[0, :, 0].tolist() == [0, 0, 255, 255]
    flat = Image.fromarray(np.array([[7, 200]], dtype=np.uint8))
    assert np.asarray(to_rgb(flat, (0, 4095)))[0, :, 0].tolist() == [7, 200], "8 bits are not scaled"


def test_usual_ranges() -> None:
    assert [range_holding(0, top)[1] for top in (0.5, 1, 2, 256, 1024, 5000, 16384, 65535, 70000)] == [
        1, 1, 255, 1023, 4095, 16383, 65535, 65535, 70000,
    ]  # fmt: skip
    assert range_holding(-3, 9) == (-3, 9)


@pytest.mark.parametrize(("value", "kept"), [("0,4095", "0,4095"), ([0, 4095], "0,4095"), ("dataset", "dataset")])
def test_the_setting_takes_two_numbers_or_a_word(value: object, kept: str) -> None:
    assert parse_config({"value_range": value}).value_range == kept


@pytest.mark.parametrize("value", ["0", "0,1,2", "4095,0", "0,inf", "a,b", 4095, "data"])
def test_any_other_is_refused(value: object) -> None:
    with pytest.raises(InputError, match="value_range"):
        parse_config({"value_range": value})


def settings(root: Path, **changes: object) -> RunConfig:
    values = {"method": "aggregate", "target": "c", "epochs": 1, "domain_classifier": False, **changes}
    return generated.config(dataset=str(root), **values)


def test_the_datasets_own_range_is_measured_once_recorded_and_used_by_all(tmp_path: Path) -> None:
    root = tree(tmp_path / "scans", 4011)
    # Held-out values are not looked at, and clipped.
    Image.fromarray(np.full((20, 20), 50000, dtype=np.uint16)).save(root / "c" / "x" / "0.tif")
    finished = run(settings(root, value_range="dataset"), tmp_path / "run", reporter=QUIET)
    assert read_config(finished.folder.config)["value_range"] == "0,4095"
    card = json.loads(finished.folder.model_card.read_text())
    assert card["preprocessing"]["value_range"] == [0, 4095]
    by_hand = run(settings(root, value_range="0,4095"), tmp_path / "by_hand", reporter=QUIET)
    assert by_hand.folder.predictions.read_bytes() == finished.folder.predictions.read_bytes()
    plain = run(settings(root), tmp_path / "plain", reporter=QUIET)
    assert plain.folder.predictions.read_bytes() != finished.folder.predictions.read_bytes()
    before = finished.folder.predictions.read_bytes()
    evaluate(finished.folder.path, QUIET)
    assert finished.folder.predictions.read_bytes() == before
    model = load(finished.folder.path)
    assert model.preprocessing == Preprocessing(**{**vars(model.preprocessing), "value_range": (0.0, 4095.0)})
    with Image.open(root / NAMES[3]) as image:
        seen = model.preprocessing.load(image)
    assert len(seen.unique()) > 100, "of 17 levels that 12 of 16 bits would have"
    again = run(settings(root, value_range="dataset"), tmp_path / "run", reporter=QUIET, resume=True)
    assert again.results.out_of_domain == finished.results.out_of_domain


def test_a_range_that_no_image_needs_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "flat"
    for name in NAMES:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((8, 8), dtype=np.uint8)).save((root / name).with_suffix(".png"))
    with pytest.raises(InputError, match=r"none of the .* training images .* is deeper than 8 bits"):
        run(settings(root, value_range="dataset"), tmp_path / "run", reporter=QUIET)
