"""Exported files answer as their models do, say what they are, and are not kept otherwise."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from deploy.examples import CLASSES, NAMED, SOURCES, card, method
from domain_masks.data import Preprocessing
from domain_masks.deploy.exporting import classifier as classifier_module
from domain_masks.deploy.exporting import export as export_module
from domain_masks.deploy.exporting.classifier import Deployable, PredictionEnsemble, classifier
from domain_masks.deploy.exporting.export import Exported, export_model
from domain_masks.deploy.exporting.export_format import FORMATS, ExportFormat
from domain_masks.deploy.exporting.formats import check_format, read_description, runner, trace, write_onnx
from domain_masks.deploy.exporting.parity import Parity, compare
from domain_masks.deploy.exporting.parity_images import (
    ParityImages,
    generated_images,
    images_of_files,
)
from domain_masks.deploy.exporting.preprocessing_module import LEVELS, PreprocessingInside
from domain_masks.deploy.predicting.model import preprocessing_of
from domain_masks.errors import InputError, ParityError
from domain_masks.networks import Interpolation

PREPROCESSING = preprocessing_of(card())


def export(path: Path, name: str = "dmg", size: int = 32, backbone: str = "small", **settings: Any) -> Exported:
    described = card(size, backbone)
    chosen = ExportFormat(format=path.suffix[1:], **settings)
    parity_images = generated_images(preprocessing_of(described))
    return export_model(method(name, backbone, size), described, chosen, path, parity_images)


def test_onnx_takes_bytes_of_any_size_and_holds_every_mask(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    exported = export(path, preprocessing=True)
    assert exported.parity.holds
    assert exported.parity.batch_sizes == (1, 12)
    assert exported.parity.levels is not None
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]
    run, model = runner(path, "onnx"), method()
    for shape in ((1, 3, 50, 31), (4, 3, 32, 32), (3, 3, 20, 90)):
        images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            expected = model.network.domain_logits(PreprocessingInside(PREPROCESSING)(images)).mean(0)
        torch.testing.assert_close(run(images), expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
    described = read_description(path, "onnx")
    assert described["classes"] == list(CLASSES)
    assert described["sources"] == list(SOURCES)
    assert described["ensemble"] == "predictions"
    assert described["method"]["name"] == "dmg"
    assert described["preprocessing"]["inside"] is True
    assert described["input"]["type"] == "uint8"


def test_pt2_in_half_precision_with_one_mask(tmp_path: Path) -> None:
    path = tmp_path / "model.pt2"
    exported = export(path, ensemble="known:paper", half=True)
    assert all(site.is_folded for site in exported.classifier.folded)
    run = runner(path, "pt2")
    images = torch.randn(5, 3, 32, 32)
    model = method()
    with torch.no_grad():
        expected = model.network(images, torch.full((5,), 1))
    got = run(images)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, expected, rtol=2e-2, atol=2e-2 * float(expected.abs().max()))
    described = read_description(path, "pt2")
    assert (described["precision"], described["ensemble"]) == ("float16", "known:paper")
    assert described["classes"] == list(CLASSES)


def test_pruned_files_are_smaller(tmp_path: Path) -> None:
    export(tmp_path / "whole.pt2", ensemble="masks")
    exported = export(tmp_path / "pruned.pt2", ensemble="masks", threshold=0.5)
    assert exported.classifier.pruned is not None
    assert exported.classifier.pruned.after < exported.classifier.pruned.before
    assert (tmp_path / "pruned.pt2").stat().st_size < (tmp_path / "whole.pt2").stat().st_size
    assert read_description(tmp_path / "pruned.pt2", "pt2")["pruned_below"] == 0.5


@pytest.mark.slow
@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("ensemble", ["predictions", "masks"])
def test_named_networks(name: str, kind: str, ensemble: str, tmp_path: Path) -> None:
    exported = export(tmp_path / f"model.{kind}", size=NAMED[name], backbone=name, ensemble=ensemble)
    assert exported.parity.holds


@pytest.mark.slow
@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(
    ("name", "ensemble"),
    [("aggregate", "predictions"), ("multi_headed", "predictions"), ("multi_headed", "known:ink")],
)
def test_methods_without_masks(name: str, ensemble: str, kind: str, tmp_path: Path) -> None:
    assert export(tmp_path / f"model.{kind}", name, ensemble=ensemble).parity.holds


@pytest.mark.slow
def test_pruned_half_onnx_with_preprocessing(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    exported = export(path, ensemble="masks", threshold=0.5, half=True, preprocessing=True, opset=20)
    assert exported.parity.holds
    import onnx  # noqa: PLC0415

    assert onnx.load(path).opset_import[0].version == 20


@pytest.mark.parametrize("average", ["logits", "probabilities"])
@pytest.mark.parametrize("name", ["dmg", "multi_headed"])
def test_ensembles_average_as_the_method_is_set(name: str, average: str) -> None:
    model = method(name, average=average)
    chosen = classifier(model, "predictions")
    images = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(chosen.network(images), chosen.reference(images))
    assert isinstance(chosen.network, PredictionEnsemble) is (name == "dmg")


def test_any_ensemble_that_a_method_has_is_exported() -> None:
    model = method("aggregate")
    predict = model.predict
    model.predict = lambda batch: {**predict(batch), "weighted": 2 * predict(batch)["predictions"]}  # type: ignore[method-assign]
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        got = classifier(model, "weighted").network(images)
        torch.testing.assert_close(got, 2 * model.network(images))


def test_a_file_that_cannot_be_run_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, kind: str) -> Any:
        raise RuntimeError("Type parameter (T) of Optype (Gemm) bound to different types\nand more")

    monkeypatch.setattr(export_module, "runner", refuse)
    with pytest.raises(
        ParityError, match=r"is not kept: torch cannot run it \(RuntimeError: Type parameter .* types\)"
    ):
        export(tmp_path / "model.pt2", ensemble="masks")
    assert list(tmp_path.iterdir()) == []


def test_what_older_cards_and_source_trees_do_not_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mean and deviation get the values that predicting uses; a package of unknown version writes none."""
    monkeypatch.setattr(export_module, "version", lambda: None)
    known = card().preprocessing or {}
    described = card(preprocessing={name: value for name, value in known.items() if name not in ("mean", "std")})
    path = tmp_path / "model.onnx"
    settings = ExportFormat(ensemble="masks")
    assert export_model(method(), described, settings, path, generated_images(PREPROCESSING)).parity.holds
    found = read_description(path, "onnx")
    assert "version" not in found
    assert found["preprocessing"]["mean"] == list(preprocessing_of(described).mean)
    assert found["preprocessing"]["std"] == list(preprocessing_of(described).std)


def test_several_masks_cannot_be_pruned() -> None:
    with pytest.raises(InputError, match=r"cannot prune the ensemble 'predictions'.*--ensemble masks"):
        classifier(method(), "predictions", 0.5)
    with pytest.raises(InputError, match="got method 'aggregate'"):
        classifier(method("aggregate"), "predictions", 0.5)


def test_a_file_that_answers_otherwise_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Wrong(Deployable):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return super().forward(images) + 0.01

    monkeypatch.setattr(export_module, "Deployable", Wrong)
    with pytest.raises(
        ParityError, match=r"model\.pt2 is not kept: run by torch, .* differ by at most 0\.01"
    ) as raised:
        export(tmp_path / "model.pt2", ensemble="masks")
    assert raised.value.exit_status == 1
    assert list(tmp_path.iterdir()) == []


def reference() -> nn.Module:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 5)).eval()


@pytest.mark.parametrize(("change", "holds"), [(0.0, True), (5e-5, True), (2e-4, False), (float("nan"), False)])
def test_comparison(change: float, holds: bool) -> None:
    network, parity_images = reference(), generated_images(PREPROCESSING)

    def run(images: torch.Tensor) -> torch.Tensor:
        # Only with several images, as a file that fixed its batch would err.
        return network(images) + (change if len(images) > 1 else 0)

    parity = compare(run, network, parity_images, PREPROCESSING, inside=False, half=False)
    assert parity.holds is holds
    assert parity.images == 12
    assert compare(run, network, parity_images, PREPROCESSING, inside=False, half=True).holds is not math.isnan(change)


def test_preprocessing_of_the_file_is_held_against_pillow() -> None:
    assert not Parity(1, "here", (1,), 0.0, 1.0, 1, levels=1.1).holds
    assert Parity(1, "here", (1,), 0.0, 1.0, 1, levels=1.0).holds


SIZES = [(64, 64), (100, 50), (31, 77), (227, 227), (500, 333), (1, 3), (73, 73)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(
    "preprocessing", [Preprocessing(64, 64, True), Preprocessing(64, 73, False), Preprocessing(32, 40, True)]
)
def test_preprocessing_inside_is_pillows(
    preprocessing: Preprocessing, interpolation: Interpolation, size: tuple[int, int]
) -> None:
    preprocessing = replace(preprocessing, interpolation=interpolation)
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    expected = preprocessing.load(Image.fromarray(pixels))
    inside = PreprocessingInside(preprocessing)
    images = torch.from_numpy(pixels.transpose(2, 0, 1).copy())[None]
    difference = (inside.pixels(images)[0] - expected).abs()
    assert difference.max() <= LEVELS[interpolation]
    assert difference.mean() <= 0.5
    torch.testing.assert_close(
        inside(images)[0], preprocessing.normalize(expected[None])[0], rtol=0, atol=1.14 / 255 / min(preprocessing.std)
    )


def test_images_are_read_whole_and_prepared_as_the_model_sees_them(tmp_path: Path) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 200), dtype=np.uint8))
    image.save(tmp_path / "grey.jpg")
    parity_images = images_of_files([tmp_path / "grey.jpg"], PREPROCESSING)
    (parity_image,) = parity_images.images
    assert parity_image.raw.shape == (1, 3, 300, 200)
    assert parity_image.prepared.shape == (3, 32, 32)
    (tmp_path / "text.jpg").write_text("no image")
    with pytest.raises(InputError, match=r"text\.jpg' cannot be read"):
        images_of_files([tmp_path / "text.jpg"], PREPROCESSING)


def test_generated_images_have_several_sizes_and_are_always_the_same() -> None:
    first, second = generated_images(PREPROCESSING), generated_images(PREPROCESSING)
    assert len({tuple(one.raw.shape) for one in first.images}) > 2
    assert all(torch.equal(one.raw, other.raw) for one, other in zip(first.images, second.images, strict=True))
    assert "generated" in first.origin
    assert isinstance(first, ParityImages)


def test_onnx_without_its_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "domain_masks.deploy.exporting.formats.find_spec", lambda name: None if name == "onnxruntime" else 1
    )
    with pytest.raises(InputError, match=r"without onnxruntime: .*domain-masks\[onnx\].*--format pt2"):
        check_format("onnx")
    check_format("pt2")


def test_opsets_that_cannot_be_written(tmp_path: Path) -> None:
    program = trace(reference(), torch.zeros(2, 3, 8, 8), {0: "batch"})
    with pytest.raises(InputError, match="opset 9"):
        write_onnx(program, tmp_path / "model.onnx", {"version": "1"}, 9, {0: "batch"})


def test_networks_that_cannot_be_followed() -> None:
    class Choosing(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.mean((2, 3)) if float(images.sum()) > 0 else images.amax((2, 3))

    with pytest.raises(InputError, match=r"torch\.export cannot follow the network"):
        trace(Choosing(), torch.zeros(2, 3, 8, 8), {0: "batch"})


def test_the_method_is_left_as_it_is() -> None:
    model = method()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    Deployable(classifier(model, "masks", 0.5).network, half=True)
    Deployable(classifier_module.classifier(model, "predictions").network, half=True)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert json.dumps(export_module.describe(model, card(), ExportFormat()))
