"""What needs no torch is told before torch is imported: a child process runs the commands and says what it has loaded."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from domain_masks.cli.data import ACTIONS
from domain_masks.cli.main import COMMANDS
from domain_masks.data.augmentation import AUGMENTATIONS
from domain_masks.data.registry import AUGMENTATION_NAMES
from domain_masks.errors import InputError
from domain_masks.methods import METHODS
from domain_masks.methods.base import Method
from domain_masks.methods.method_registry import DESCRIBED, described
from domain_masks.networks import BACKBONES, find_backbone
from domain_masks.networks.names import OWN_NAMES, check_backbone, registered

HEAVY = ("torch", "torchvision", "lightning_fabric", "timm", "kornia")
NUMERICAL = (*HEAVY, "numpy", "pandas", "PIL", "scipy", "sklearn", "matplotlib", "gradio")
IMAGES = ["--dataset", "images", "--backbone", "small", "--weights", "none"]

MISTAKES: dict[str, tuple[list[str], str]] = {
    "dataset by name": (["train", "--dataset", "nowhere"], "nowhere"),
    "dataset by path": (["train", "--dataset", "./nowhere"], "does not exist"),
    "manifest": (["train", "--dataset", "nowhere.csv"], "nowhere.csv"),
    "dataset without a root": (["train", "--dataset", "pacs"], "DMG_DATA"),
    "dataset that is not there": (["train", "--dataset", "domainnet", "--root", "."], "DomainNet"),
    "held-out domain": (["train", *IMAGES, "--target", "aa"], "'aa'"),
    "no held-out domain": (["train", *IMAGES], "--target"),
    "no source": (["train", *IMAGES, "--target", "a,b,c"], "source"),
    "folder that is taken": (["train", *IMAGES, "--target", "a", "--out", "taken"], "--overwrite"),
    "nothing to resume": (["train", *IMAGES, "--target", "a", "--resume", "--out", "nowhere"], "nowhere"),
    "two wishes": (["train", *IMAGES, "--target", "a", "--resume", "--overwrite", "--out", "taken"], "--overwrite"),
    "method": (["train", "--method", "dmgg"], "'dmg'"),
    "setting of a method": (["train", "--method.overlap_wieght", "1"], "overlap_weight"),
    "value of a method": (["train", "--method.overlap_weight", "-1"], "overlap_weight"),
    "backbone of torchvision": (["train", "--backbone", "resnet19"], "resnet18"),
    "backbone of timm": (["train", "--backbone", "timm:resnet_18"], "timm:resnet18"),
    "library": (["train", "--backbone", "tim:resnet18"], "timm"),
    "augmentation": (["train", "--augmentation", "digit"], "digits"),
    "value": (["train", "--epochs", "0", "--optimizer", "adamm"], "epochs"),
    "contradiction": (["train", "--momentum", "0.5"], "momentum"),
    "contradiction with the method": (["train", "--method", "aggregate", "--lr_masks", "0.1"], "lr_masks"),
    "file of weights": (["train", *IMAGES, "--weights", "nowhere.pth", "--target", "a"], "nowhere.pth"),
    "run to start from": (["train", *IMAGES, "--target", "a", "--init_from", "nowhere"], "nowhere"),
    "configuration": (["train", "--config", "nowhere.yaml"], "nowhere.yaml"),
    "methods": (["benchmark", "--methods", "dgm"], "'dmg'"),
    "held-out domains": (["benchmark", *IMAGES, "--targets", "a", "bb"], "'bb'"),
    "sweep": (["benchmark", *IMAGES, "--sweep", "method.overlap_wieght=1"], "overlap_weight"),
    "benchmark on a file": (["benchmark", *IMAGES, "--out", "file"], "file"),
    "benchmark's dataset": (["benchmark", "--dataset", "nowhere"], "nowhere"),
    "run to evaluate": (["evaluate", "nowhere"], "nowhere"),
    "run without a checkpoint": (["evaluate", "taken"], "checkpoint"),
    "run to analyze": (["analyze", "nowhere"], "nowhere"),
    "images to analyze": (["analyze", "taken", "--images", "many"], "many"),
    "runs to report": (["report", "nowhere"], "nowhere"),
    "rule": (["report", "taken", "--select", "orakle"], "oracle"),
    "model": (["predict", "nowhere", "images"], "nowhere"),
    "images to predict": (["predict", "model", "missing/"], "missing/"),
    "ending": (["predict", "model", "images", "--out", "a.txt"], ".csv"),
    "model to export": (["export", "nowhere"], "nowhere"),
    "format": (["export", "model", "--format", "tflite"], "onnx"),
    "images to compare on": (["export", "model", "--images", "missing.png"], "missing.png"),
    "model to show": (["demo", "nowhere", "--port", "0"], "nowhere"),
    "port": (["demo", "model", "--port", "many"], "port"),
    "dataset to check": (["data", "check", "nowhere"], "nowhere"),
    "dataset to list": (["data", "list", "./nowhere"], "nowhere"),
    "dataset to fetch": (["data", "download", "nowhere"], "nowhere"),
    "dataset to prepare": (["data", "cache", "--dataset", "./nowhere"], "nowhere"),
    "what to clear": (["data", "cache", "--clear", "feature"], "features"),
    "shell": (["completion", "tcsh"], "bash"),
    "method to show": (["methods", "dgm"], "'dmg'"),
}
NAMES_ALONE: list[list[str]] = [
    ["--help"],
    ["--version"],
    *([command, "--help"] for command in COMMANDS),
    *(["data", action, "--help"] for action in ACTIONS),
    ["methods"],
    ["methods", "dmg", "metareg"],
    ["data", "list"],
    *(["completion", shell] for shell in ("bash", "zsh", "fish")),
]
FILES_ALONE: list[list[str]] = [["data", "list", "images"], ["data", "cache"]]

SCRIPT = """
import contextlib, io, json, sys
from domain_masks.cli import main
found = []
for words in json.loads(sys.argv[1]):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(words)
    found.append([status, err.getvalue(), [name for name in json.loads(sys.argv[2]) if name in sys.modules]])
print(json.dumps(found))
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DMG_DATA", raising=False)
    monkeypatch.setenv("DMG_CACHE", str(tmp_path / "cache"))
    for name in ("a/x", "a/y", "b/x", "b/y", "c/x", "c/y"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(4):
            Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / "images" / name / f"{number}.png")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "config.yaml").write_text(
        "{dataset: images, target: a, backbone: small, weights: none, size: 8}"
    )
    (tmp_path / "taken" / "environment.json").write_text("{}")
    (tmp_path / "model").mkdir()
    for name in ("model.json", "model.safetensors"):
        (tmp_path / "model" / name).write_text("{}")
    (tmp_path / "file").touch()
    return tmp_path


def run(commands: list[list[str]], watched: tuple[str, ...] = HEAVY) -> list[tuple[int, str, list[str]]]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(commands), json.dumps(watched)],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return [(status, error, loaded) for status, error, loaded in json.loads(done.stdout.splitlines()[-1])]


@pytest.mark.usefixtures("here")
def test_every_mistake_is_told_without_torch() -> None:
    cases = list(MISTAKES.items())
    for (name, (_, word)), (status, error, loaded) in zip(cases, run([words for _, (words, _) in cases]), strict=True):
        assert loaded == [], name
        assert status == 2, (name, error)
        assert error.count("dmg: ") == 1, (name, error)
        assert word in error, (name, error)


@pytest.mark.parametrize(("commands", "watched"), [(NAMES_ALONE, NUMERICAL), (FILES_ALONE, HEAVY)])
@pytest.mark.usefixtures("here")
def test_what_needs_no_torch_does_without(commands: list[list[str]], watched: tuple[str, ...]) -> None:
    for words, (status, error, loaded) in zip(commands, run(commands, watched), strict=True):
        assert loaded == [], words
        assert status == 0, (words, error)


@pytest.mark.usefixtures("here")
def test_python_tells_them_without_torch_too() -> None:
    code = (
        "import sys, domain_masks as dm\n"
        "for settings in ({'dataset': 'nowhere'}, {'method': 'dgm'}, {'datset': 'x'}, "
        "{'dataset': 'images', 'target': 'aa'}, {'dataset': 'images', 'target': 'a', 'out': 'taken'}):\n"
        "    try:\n"
        "        dm.train(**settings)\n"
        "    except dm.errors.DomainMasksError:\n"
        "        continue\n"
        "    sys.exit('no mistake')\n"
        f"sys.exit(str([name for name in {HEAVY!r} if name in sys.modules] or '') or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")


def test_what_is_known_without_torch_is_what_there_is() -> None:
    assert set(AUGMENTATION_NAMES) == set(AUGMENTATIONS)
    # Networks of one's own, which other tests register, are named by module.
    assert set(OWN_NAMES) == {name for name in BACKBONES if "." not in name}
    assert set(DESCRIBED) == set(METHODS)
    for name, kind in METHODS.items():
        known = described(name)
        assert issubclass(kind, known)
        assert not issubclass(known, Method)
        assert known.has_masks() == (kind.mask_logits is not Method.mask_logits)
        assert known.is_closed_form() == (kind.fit_closed_form is not Method.fit_closed_form)


@pytest.mark.parametrize("library", ["torchvision", "timm"])
def test_the_backbones_are_those_that_the_libraries_register(library: str) -> None:
    if library == "torchvision":
        from torchvision import models  # noqa: PLC0415

        assert set(models.list_models(module=models)) <= set(registered("torchvision"))
    else:
        import timm  # noqa: PLC0415

        assert set(timm.list_models()) <= set(registered("timm"))
    for name in ("resnet18", "timm:resnet18", "timm:resnet18.a1_in1k", "torchvision:alexnet", "vit_tiny_patch16_224"):
        check_backbone(name)
        find_backbone(name)
    for name in ("resnet19", "timm:resnet_18", "torchvision:resnet_18", "tim:resnet18", "no_such_thing"):
        with pytest.raises(InputError) as early:
            check_backbone(name)
        with pytest.raises(InputError) as late:
            find_backbone(name)
        assert ("Did you mean" in str(early.value)) == ("Did you mean" in str(late.value))
