"""Images are prepared as they were for the weights, as the settings say, and as an older run did."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import save_file

import generated
from domain_masks.data import Preprocessing
from domain_masks.errors import InputError, RunFolderError
from domain_masks.networks import build_backbone
from domain_masks.records.config import RunConfig, parse_config, read_config
from domain_masks.records.identity import run_key
from domain_masks.records.preparation import IMAGENET_MEAN, IMAGENET_STD, as_started
from domain_masks.training.backbone_builder import architecture_for
from domain_masks.training.defaults import notes, resolve
from domain_masks.training.image_preparation import preprocessing_of
from domain_masks.training.provenance import Provenance
from generated import dataset

HALF = (0.5, 0.5, 0.5)
VIT = "timm:vit_tiny_patch16_224.augreg_in21k_ft_in1k"


def resolved(**changes: Any) -> RunConfig:
    values = {"dataset": "generated", "target": "stripes", **changes}
    return resolve(parse_config(values), dataset(per_class=2))


def images_of(config: RunConfig) -> tuple[Any, ...]:
    made = preprocessing_of(config, dataset(per_class=2))
    return made.size, made.resize, made.square, made.mean, made.std, made.interpolation


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"backbone": "resnet18", "weights": "imagenet"}, (224, 256, False, IMAGENET_MEAN, IMAGENET_STD, "bilinear")),
        ({"backbone": "resnet18", "weights": "none"}, (224, 256, False, IMAGENET_MEAN, IMAGENET_STD, "bilinear")),
        ({"backbone": "small", "weights": "none"}, (224, 256, False, IMAGENET_MEAN, IMAGENET_STD, "bilinear")),
        ({"backbone": "inception_v3"}, (299, 342, False, IMAGENET_MEAN, IMAGENET_STD, "bilinear")),
        ({"backbone": "swin_t"}, (224, 232, False, IMAGENET_MEAN, IMAGENET_STD, "bicubic")),
        ({"backbone": VIT}, (224, 248, False, HALF, HALF, "bicubic")),
        ({"backbone": VIT, "weights": "none"}, (224, 256, False, IMAGENET_MEAN, IMAGENET_STD, "bilinear")),
        ({"backbone": VIT, "mean": "0.1 0.2 0.3", "crop": 1}, (224, 224, False, (0.1, 0.2, 0.3), HALF, "bicubic")),
        ({"backbone": VIT, "interpolation": "bilinear", "square": True}, (224, 224, True, HALF, HALF, "bilinear")),
        (
            {"backbone": "timm:vit_base_patch16_384", "weights": "none"},
            (384, 439, False, IMAGENET_MEAN, IMAGENET_STD, "bilinear"),
        ),
        ({"backbone": "swin_t", "size": 112}, (112, 116, False, IMAGENET_MEAN, IMAGENET_STD, "bicubic")),
        # timm's own word for a squashed square, of which the centre is cut.
        (
            {"backbone": "timm:convnext_tiny.in12k_ft_in1k_384"},
            (384, 384, True, IMAGENET_MEAN, IMAGENET_STD, "bicubic"),
        ),
    ],
)
def test_defaults_are_those_of_the_weights(settings: dict[str, Any], expected: tuple[Any, ...]) -> None:
    assert images_of(resolved(**settings)) == expected


def test_everything_is_written_down_and_read_again(tmp_path: Path) -> None:
    config = resolved(backbone=VIT)
    config.write(tmp_path / "config.yaml")
    again = resolve(parse_config(read_config(tmp_path / "config.yaml")), dataset(per_class=2))
    assert again == config
    assert images_of(again) == images_of(config)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("mean", [123.675, 116.28, 103.53], "divide those of 0 to 255 by 255"),
        ("mean", [0.5, 0.5], "mean: "),
        ("mean", "0.5 0.5 x", "mean: "),
        ("std", [0, 1, 1], "above 0"),
        ("std", [58.4, 57.1, 57.4], "divide those of 0 to 255 by 255"),
        ("std", float("nan"), "expected deviations"),
        ("interpolation", "bicubik", "did you mean 'bicubic'"),
        ("crop", 0, "greater than 0"),
        ("crop", 1.5, "less than or equal to 1"),
    ],
)
def test_values_that_cannot_be_are_refused(name: str, value: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_config({name: value})


def test_one_number_stands_for_three() -> None:
    assert parse_config({"mean": 0.5, "std": "0.25"}).mean == HALF
    assert parse_config({"mean": ["0.5"], "std": "0.1,0.2,0.3"}).std == (0.1, 0.2, 0.3)


def weights_file(folder: Path) -> Path:
    save_file(build_backbone("small", 3).state_dict(), folder / "weights.safetensors")
    return folder / "weights.safetensors"


def test_what_a_file_leaves_open_is_said(tmp_path: Path) -> None:
    path = str(weights_file(tmp_path))
    data = dataset(per_class=2)
    lines = notes(resolved(backbone="resnet18", weights=path), data)
    assert any(
        "weights.safetensors do not say how their images were prepared: taken as for torchvision's" in x for x in lines
    )
    assert any("0.485 0.456 0.406" in line and "--mean, --std, --interpolation and --crop" in line for line in lines)
    assert any(
        "as for timm's vit_tiny_patch16_224" in line for line in notes(resolved(backbone=VIT, weights=path), data)
    )
    for settled in ({"weights": "none"}, {"weights": "imagenet"}, {"weights": path, "mean": 0.5}):
        assert not any("do not say" in line for line in notes(resolved(backbone="resnet18", **settled), data))


def test_what_disagrees_with_the_weights_is_said() -> None:
    data = dataset(per_class=2)
    lines = notes(resolved(backbone=VIT, mean=0.1, size=256), data)
    assert any("mean 0.1 0.1 0.1, std 0.5 0.5 0.5, bicubic, but mean 0.5 0.5 0.5" in line for line in lines)
    assert any("is made for images of 224 pixels, and gets 256" in line for line in lines)
    assert not any("timm" in line for line in notes(resolved(backbone=VIT), data))


KEYED = {"dataset": "x", "domains": ["a"]}


def test_keys_of_runs_that_compute_the_same_stay() -> None:
    """Configurations that mean what they meant before images' preparation was recorded have the same key."""
    config = resolved(backbone="resnet18")
    before = config.model_copy(update={"mean": None, "std": None, "interpolation": None, "crop": None})
    assert run_key(config, KEYED, {}) == run_key(before, KEYED, {})
    square = resolved(backbone="resnet18", square=True)
    assert run_key(square, KEYED, {}) == run_key(square.model_copy(update={"crop": None}), KEYED, {})


def test_keys_of_runs_that_compute_something_else_change() -> None:
    config = resolved(backbone=VIT)
    old = config.model_copy(update={"mean": None, "std": None, "interpolation": None, "crop": None})
    assert len({run_key(changed, KEYED, {}) for changed in (config, old, as_started(old, {"square": False}))}) == 2
    for name, value in (("mean", HALF), ("std", HALF), ("interpolation", "bicubic"), ("crop", 0.9)):
        usual = resolved(backbone="resnet18")
        assert run_key(usual.model_copy(update={name: value}), KEYED, {}) != run_key(usual, KEYED, {})


def test_a_run_of_before_goes_on_as_it_began() -> None:
    old = {"square": False, "size": 224, "backbone": VIT, "weights": "imagenet"}
    config = as_started(parse_config({"dataset": "generated", "target": "stripes", "backbone": VIT}), old)
    assert images_of(resolve(config, dataset(per_class=2))) == (
        224,
        256,
        False,
        IMAGENET_MEAN,
        IMAGENET_STD,
        "bilinear",
    )
    new = {**old, "mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "crop": 1.0}
    assert as_started(parse_config({"mean": 0.1}), new).mean == (0.1,) * 3
    assert as_started(parse_config({}), new).std == HALF


def test_images_are_resized_by_the_filter_that_is_asked_for() -> None:
    image = dataset(per_class=1).open_image(0)
    seen = {}
    for interpolation, filters in (("bilinear", Image.Resampling.BILINEAR), ("bicubic", Image.Resampling.BICUBIC)):
        made = Preprocessing(9, 9, True, HALF, HALF, interpolation=interpolation)
        seen[interpolation] = made.evaluation_pixels(image)
        assert np.array_equal(seen[interpolation], np.asarray(image.resize((9, 9), filters)))
        assert Preprocessing.from_dict(made.to_dict()) == made
    assert not np.array_equal(seen["bilinear"], seen["bicubic"])
    with pytest.raises(InputError, match="interpolation"):
        Preprocessing.from_dict({"size": 9, "resize": 9, "square": True, "interpolation": "sinc"})


def test_a_run_follows_its_settings(tmp_path: Path) -> None:
    from domain_masks.deploy import load  # noqa: PLC0415
    from domain_masks.training import evaluate, run  # noqa: PLC0415

    data = dataset(per_class=4)
    config = generated.config(mean=0.25, std=0.5, interpolation="bicubic", crop=0.8, fast=True)
    run(config, tmp_path / "run", dataset=data)
    made = load(tmp_path / "run").preprocessing
    assert (made.mean, made.std, made.interpolation, made.resize) == ((0.25,) * 3, (0.5,) * 3, "bicubic", 20)
    before = (tmp_path / "run" / "predictions.npz").read_bytes()
    evaluate(tmp_path / "run", dataset=data)
    assert (tmp_path / "run" / "predictions.npz").read_bytes() == before
    again = generated.config(init_from=tmp_path / "run", backbone=None, weights=None, size=None, fast=True)
    assert resolve(again, data).mean == (0.25,) * 3
    assert preprocessing_of(resolve(again, data), data) == made


@pytest.mark.parametrize(("weights", "transforms"), [("imagenet", True), ("none", False), ("/nowhere/file.pth", False)])
def test_checkpoints_of_before_are_built_as_they_were(weights: str, transforms: bool) -> None:
    config = parse_config({"backbone": "googlenet", "weights": weights})
    assert architecture_for(config, Provenance()).arguments["transform_input"] is transforms
    noted = {"builder": "torchvision", "name": "googlenet", "arguments": {"transform_input": True}}
    assert architecture_for(config, Provenance(network=noted)).arguments["transform_input"] is True
    with pytest.raises(RunFolderError, match="does not say what its network was made from"):
        architecture_for(config, Provenance(network={"name": "googlenet"}))
