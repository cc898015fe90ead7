"""Exported files answer as their models do, say what they are, and are not kept otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from deploy.examples import CLASSES, NAMED, SOURCES, card, method
from domain_masks.deploy.exporting import export as export_module
from domain_masks.deploy.exporting.classifier import Deployable
from domain_masks.deploy.exporting.export import Exported, export_model
from domain_masks.deploy.exporting.export_format import FORMATS, ExportFormat
from domain_masks.deploy.exporting.formats import read_description, runner
from domain_masks.deploy.exporting.parity_images import (
    generated_images,
)
from domain_masks.deploy.exporting.preprocessing_module import PreprocessingInside
from domain_masks.deploy.predicting.model import preprocessing_of
from domain_masks.errors import ParityError
from domain_masks.records.measured_metrics import FittedTemperature

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


@pytest.mark.parametrize("ending", ["onnx", "pt2"])
def test_a_calibrated_models_file_answers_with_its_probabilities(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"model.{ending}"
    fitted = FittedTemperature(value=2.5, images=9)
    described = card(32, "small").model_copy(update={"temperatures": {"masks": fitted}})
    images = generated_images(PREPROCESSING)
    calibrated = export_model(method(), described, ExportFormat(format=ending, ensemble="masks"), path, images)
    assert calibrated.parity.holds
    assert read_description(path, ending)["temperature"] == 2.5
    logits = runner(path, ending)(torch.zeros(2, 3, 32, 32))
    plain = tmp_path / f"plain.{ending}"
    export_model(method(), described, ExportFormat(format=ending), plain, images)
    assert "temperature" not in read_description(plain, ending), "the temperature belongs to another ensemble"
    export_model(method(), card(32, "small"), ExportFormat(format=ending, ensemble="masks"), plain, images)
    torch.testing.assert_close(logits * 2.5, runner(plain, ending)(torch.zeros(2, 3, 32, 32)))


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


def test_a_file_that_cannot_be_run_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, kind: str) -> Any:
        raise RuntimeError("Type parameter (T) of Optype (Gemm) bound to different types\nand more")

    monkeypatch.setattr(export_module, "runner", refuse)
    with pytest.raises(
        ParityError, match=r"was not kept: torch cannot run it \(RuntimeError: Type parameter .* types\)"
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


def test_a_file_that_answers_otherwise_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Wrong(Deployable):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return super().forward(images) + 0.01

    monkeypatch.setattr(export_module, "Deployable", Wrong)
    with pytest.raises(
        ParityError, match=r"model\.pt2 was not kept: run with torch, .* differ by at most 0\.01"
    ) as raised:
        export(tmp_path / "model.pt2", ensemble="masks")
    assert raised.value.exit_status == 1
    assert list(tmp_path.iterdir()) == []
