"""``dmg export`` as a user calls it."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from domain_masks.cli import main
from domain_masks.data import load_digits_dataset, to_rgb
from domain_masks.deploy import load
from domain_masks.deploy.exporting import export as export_module
from domain_masks.deploy.exporting.classifier import Deployable
from domain_masks.deploy.exporting.export_format import ExportFormat
from domain_masks.deploy.exporting.formats import read_description, runner
from domain_masks.deploy.exporting.parity_images import images_of_run
from domain_masks.deploy.run_data import run_data
from domain_masks.settings.export import ExportSettings

SCRIPT = Path(__file__).parents[2] / "docs" / "exporting.md"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained") / "run"
    assert main(["train", "--fast", "--device", "cpu", "--quiet", "--out", str(out)]) == 0
    return out


@pytest.fixture
def run(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    for name in ("model.json", "model.safetensors", "config.yaml", "checkpoints/last.ckpt"):
        shutil.copy(trained / name, tmp_path / "run" / name)
    return Path("run")


def write_digit(path: Path, row: int = 0, scale: int = 3) -> Path:
    with load_digits_dataset().open_image(row) as image:
        image.convert("RGB").resize((image.width * scale, image.height * scale)).save(path)
    return path


def test_without_flags_the_prediction_ensemble_is_written_beside_the_model(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(run)]) == 0
    path = run / "model-predictions.onnx"
    shown = capsys.readouterr().out
    assert f"file        {path}" in shown
    assert "12 of 12 images (digits: mosaic; batches of 1 and 12)" in shown
    described = read_description(path, "onnx")
    assert described["classes"] == [str(digit) for digit in range(10)]
    assert described["targets"] == ["mosaic"]
    images, model = torch.randn(3, 3, 32, 32), load(run, device="cpu")
    with torch.no_grad():
        expected = model.method.network.domain_logits(images).mean(0)
    torch.testing.assert_close(runner(path, "onnx")(images), expected, rtol=1e-3, atol=1e-4)


def program() -> str:
    """The script that the documentation shows for running a file without this package."""
    text = SCRIPT.read_text(encoding="utf-8")
    return next(
        block.partition("\n")[2] for block in text.split("```")[1::2] if "onnxruntime.InferenceSession" in block
    )


@pytest.mark.parametrize("flags", [("--preprocessing",), pytest.param((), marks=pytest.mark.slow)])
def test_the_documented_script_gives_the_models_answers_without_this_package(
    run: Path, flags: tuple[str, ...], tmp_path: Path
) -> None:
    assert main(["export", str(run), "--ensemble", "masks", "--out", "model.onnx", *flags, "--quiet"]) == 0
    paths = [write_digit(tmp_path / f"{row}.png", row) for row in (0, 700, 1500)]
    (tmp_path / "run.py").write_text(program(), encoding="utf-8")
    # As in a Python that has only these: anything of torch's or ours that is imported ends the script.
    (tmp_path / "torch.py").write_text("raise ImportError('torch')")
    (tmp_path / "domain_masks.py").write_text("raise ImportError('domain_masks')")
    done = subprocess.run(
        [sys.executable, "run.py", "model.onnx", *(path.name for path in paths)],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    predictions = load(run, device="cpu").predict(paths, ensemble="masks")
    for line, path, prediction in zip(done.stdout.splitlines(), paths, predictions, strict=True):
        name, label, probability = line.split()
        assert name == path.name
        assert label == prediction.class_name
        assert float(probability) == pytest.approx(prediction.probability, abs=0.01)


def test_the_documented_script_opens_images_as_in_training(tmp_path: Path) -> None:
    """Of onnxruntime only what the script calls: a session that keeps the images that it is given."""
    (tmp_path / "onnxruntime.py").write_text(
        "import json, numpy\n"
        "class InferenceSession:\n"
        "    count = 0\n"
        "    def __init__(self, path): self.custom_metadata_map = {\n"
        "        'preprocessing': json.dumps({'inside': True}), 'classes': json.dumps(['a', 'b'])}\n"
        "    def get_modelmeta(self): return self\n"
        "    def run(self, names, inputs):\n"
        "        numpy.save(f'{self.count}.npy', inputs['images'][0])\n"
        "        self.count += 1\n"
        "        return [numpy.array([[0.0, 1.0]], 'float32')]\n"
    )
    (tmp_path / "run.py").write_text(program(), encoding="utf-8")
    gradient = np.arange(48 * 32, dtype=np.uint16).reshape(48, 32)
    eight = (gradient % 256).astype(np.uint8)
    turned = Image.Exif()
    turned[0x0112] = 6
    with_alpha = np.stack([eight, eight.T.reshape(48, 32), 255 - eight, eight], 2)
    images = {
        "turned.jpg": (Image.fromarray(np.stack([eight] * 3, 2)), {"exif": turned}),
        "transparent.png": (Image.fromarray(with_alpha), {}),
        "grey.png": (Image.fromarray(eight), {"transparency": 7}),
        "colours.png": (Image.fromarray(with_alpha).convert("RGB").quantize(16), {}),
        "print.jpg": (Image.fromarray(with_alpha).convert("CMYK"), {}),
    }
    for name, (image, options) in images.items():
        image.save(tmp_path / name, **options)
    Image.fromarray(40 * gradient).save(tmp_path / "deep.png")
    command = [sys.executable, "run.py", "model.onnx", *images]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    subprocess.run(command, check=True, cwd=tmp_path, env=environment, capture_output=True)
    for place, name in enumerate(images):
        with Image.open(tmp_path / name) as opened:
            expected = np.asarray(to_rgb(opened)).transpose(2, 0, 1)
        np.testing.assert_array_equal(np.load(tmp_path / f"{place}.npy"), expected, err_msg=name)
    command = [sys.executable, "run.py", "model.onnx", "deep.png"]
    refused = subprocess.run(command, check=False, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert refused.returncode == 1
    assert "deep.png: expected 8 bits per channel, got mode I;16" in refused.stderr


def test_a_pruned_model_says_what_was_removed(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = load(run, device="cpu")
    probabilities = model.method.network.masks.probabilities()["classifier.head"].detach().mean(0)
    threshold = float(probabilities.sort().values[63:65].mean())
    assert main(["export", str(run), "--format", "pt2", "--prune", f"{threshold}", "--quiet"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    lines = {line.split()[0]: line for line in captured.out.splitlines()}
    assert "classifier.head: 64 of 128 below the threshold, 64 removed after the mask, 64 before it" in captured.out
    assert " of 57,882 (" in lines["parameters"]
    assert list(run.glob("model-masks-pruned-*.pt2"))


def test_pruning_says_what_it_does_to_the_images(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Above every probability the file answers as the pruned network, which answers nothing any more: that is said."""
    assert main(["export", str(run), "--format", "pt2", "--prune", "1", "--quiet"]) == 0
    shown = capsys.readouterr().out
    assert "with what is left after pruning" in shown
    for site in ("classifier.hidden", "classifier.head"):
        assert f"every channel of {site} lies below the threshold" in shown
    (line,) = (line for line in shown.splitlines() if line.startswith("changed"))
    changed = int(line.split("gives ")[1].split()[0])
    model = load(run, device="cpu")
    found = images_of_run(run_data(run, model.card, {}), model.preprocessing)
    before = model.logits([one.prepared for one in found.images])["masks"].argmax(1)
    # What is left is the bias of the head: one class for all.
    assert changed in {int((before != label).sum()) for label in range(10)}
    assert changed > 0


@pytest.mark.parametrize("kind", ["onnx", "pt2"])
def test_the_weighted_ensemble_in_half_precision(run: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(run), "--ensemble", "weighted", "--half", "--format", kind, "--quiet"]) == 0
    assert "12 of 12 images" in capsys.readouterr().out


@pytest.mark.parametrize("opset", ["17", "99"])
def test_an_opset_that_nothing_here_writes_is_refused_before_anything_is_done(
    run: Path, opset: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(run), "--opset", opset]) == 2
    message = capsys.readouterr().err
    assert "opset: expected 18 to " in message
    assert "exporting" not in message


def test_a_dataset_that_is_gone_is_named_where_images_are_generated(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = (run / "config.yaml").read_text().replace("dataset: digits", "dataset: /nowhere/photos")
    (run / "config.yaml").write_text(config)
    assert main(["export", str(run), "--ensemble", "masks", "--format", "pt2"]) == 0
    shown = capsys.readouterr()
    assert "compared on generated images: " in shown.out + shown.err
    assert "--root" in shown.out + shown.err


def test_the_curve_is_a_table_and_a_figure(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["export", str(run), "--format", "pt2", "--prune", "0.7", "0.6", "--limit", "40", "--quiet"]
    assert main(command) == 0
    with (run / "figures" / "pruning-masks.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["threshold"] for row in rows] == ["", "0.6", "0.7"]
    for name in ("parameters", "file_bytes"):
        sizes = [int(row[name]) for row in rows]
        assert sizes == sorted(sizes, reverse=True)
        assert sizes[0] > sizes[2]
    removed = [float(row["removed"]) for row in rows]
    assert removed[0] == 0 < removed[1] < removed[2] <= 1
    assert all(0 <= float(row[name]) <= 1 for row in rows for name in ("validation", "held_out"))
    assert rows[0]["time_ratio"] == "1.0"
    with Image.open(run / "figures" / "pruning-masks.png") as figure:
        assert np.asarray(figure.convert("L")).std() > 5
    assert "folded" in capsys.readouterr().out
    assert not list(run.glob("*.pt2"))


@pytest.mark.slow
def test_the_curves_first_point_has_the_runs_own_accuracy(trained: Path, tmp_path: Path) -> None:
    """The smoke run has measured a sample of its images, so all are measured again."""
    from domain_masks.training import evaluate  # noqa: PLC0415

    run = tmp_path / "run"
    shutil.copytree(trained, run)
    settings = (run / "config.yaml").read_text().replace("fast: true", "fast: false")
    (run / "config.yaml").write_text(settings)
    finished = evaluate(run)
    out = tmp_path / "curve.csv"
    flags = ["--format", "pt2", "--prune", "0.1", "0.2", "--out", str(out), "--quiet"]
    assert main(["export", str(run), *flags]) == 0
    with out.open() as file:
        rows = list(csv.DictReader(file))
    assert finished.results.out_of_domain is not None
    expected = finished.results.out_of_domain.by_ensemble["masks"]
    for row in rows:  # no probability of a fresh mask lies below 0.2
        assert float(row["held_out"]) == pytest.approx(expected, abs=2e-3)
    assert out.with_suffix(".png").is_file()


def test_a_file_that_answers_otherwise_is_not_kept(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Wrong(Deployable):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return -super().forward(images)

    monkeypatch.setattr(export_module, "Deployable", Wrong)
    (run / "old.pt2").write_bytes(b"an older file")
    before = sorted(path.name for path in run.iterdir())
    assert main(["export", str(run), "--format", "pt2", "--out", str(run / "old.pt2")]) == 1
    message = capsys.readouterr().err
    assert "old.pt2 was not kept" in message
    assert "Traceback" not in message
    assert sorted(path.name for path in run.iterdir()) == before
    assert (run / "old.pt2").read_bytes() == b"an older file"


def test_where_the_images_come_from(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--format", "pt2", "--ensemble", "masks", "--quiet"]
    path = write_digit(tmp_path / "seven.png", 7)
    assert main(["export", str(run), *flags, "--images", str(path), "--preprocessing"]) == 0
    assert "1 of 1 images (the images given; batches of 1)" in capsys.readouterr().out
    (run / "config.yaml").unlink()
    assert main(["export", str(run), *flags]) == 0
    assert "generated images" in capsys.readouterr().out
    assert main(["export", str(run), *flags, "--dataset", "digits"]) == 0
    assert "digits: mosaic" in capsys.readouterr().out


def test_settings_in_yaml(run: Path, tmp_path: Path) -> None:
    (tmp_path / "export.yaml").write_text("model: run\nformat: pt2\nensemble: known:ink\nhalf: true\nout: first.pt2\n")
    assert main(["export", "--config", "export.yaml", "--out", "second.pt2", "--quiet"]) == 0
    assert not Path("first.pt2").exists()
    described = read_description(Path("second.pt2"), "pt2")
    assert (described["ensemble"], described["precision"]) == ("known:ink", "float16")
    assert json.loads((run / "model.json").read_text())["backbone"] == described["backbone"]


def test_files_are_named_by_what_they_hold() -> None:
    assert ExportFormat().file_name == "model-predictions.onnx"
    whole = ExportFormat("pt2", "known:a/b", half=True, preprocessing=True, threshold=0.25)
    assert whole.file_name == "model-known-a%2Fb-pruned-0.25-half-bytes.pt2"
    assert ExportSettings(model="run", prune=[0.5]).exported.ensemble == "masks"
    assert ExportSettings(model="run").exported.ensemble == "predictions"
    assert not ExportSettings(model="run", prune=[0.5, 0.5]).is_curve
