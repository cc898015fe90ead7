"""What a run leaves behind is what was measured, or it is not finished."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import nn

import generated
from domain_masks.deploy import load
from domain_masks.errors import ParityError
from domain_masks.methods.prediction_parity import largest_difference
from domain_masks.networks import backbones
from domain_masks.networks.small import SmallConvNet
from domain_masks.records import Predictions, RunFolder
from domain_masks.training import evaluate, run
from domain_masks.training.backbone_builder import synchronised
from domain_masks.training.frozen_features import folder_for
from generated import dataset


class Shifted(SmallConvNet):
    """A network with a switch that no file of weights tells: as torchvision's GoogLeNet."""

    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.shift = Switch.value

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return super().forward(images + self.shift)


class Switch:
    value = 0.0


def shifted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(backbones.BACKBONES, "shifted", Shifted)
    monkeypatch.setattr(Switch, "value", 0.0)


def test_a_model_that_comes_back_otherwise_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shifted(monkeypatch)
    folder = RunFolder(tmp_path / "run")

    class SwitchesAtTheEnd:
        def say(self, line: str) -> None: ...

        def track(self, items: Any, total: int, what: str) -> Any:
            yield from items
            if what == "predicting held_out":
                Switch.value = 1.0

    config = generated.config(backbone="shifted", method="aggregate", fast=True)
    with pytest.raises(ParityError, match=r"after reloading, its predictions differ from those of the trained model"):
        run(config, folder.path, dataset=dataset(per_class=4), reporter=SwitchesAtTheEnd())
    assert not folder.results.exists()
    assert not list(folder.path.glob("*model*"))
    Switch.value = 0.0
    assert run(config, folder.path, dataset=dataset(per_class=4), resume=True).results.best_epoch == 1
    assert load(folder.path).backbone == "shifted"


def test_numbers_that_the_model_does_not_give_are_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As features of other images would give: what is compared are the images themselves."""
    data = dataset(per_class=4)
    folder = RunFolder(tmp_path / "run")
    run(generated.config(fast=True), folder.path, dataset=data)
    kept = folder.results.read_bytes(), (folder.path / "model.json").read_bytes()
    real = Predictions.concatenate

    def wrong(parts: Any) -> Predictions:
        whole = real(parts)
        return type(whole)(**{**vars(whole), "logits": {name: np.roll(v, 1, 1) for name, v in whole.logits.items()}})

    monkeypatch.setattr(Predictions, "concatenate", staticmethod(wrong))
    with pytest.raises(ParityError, match=r"does not predict what was measured \(on 8 images"):
        evaluate(folder.path, dataset=data)
    assert (folder.results.read_bytes(), (folder.path / "model.json").read_bytes()) == kept


def test_differences_of_logits() -> None:
    one = {"predictions": torch.tensor([[1.0, -4.0]])}
    assert largest_difference(one, one) == 0
    assert largest_difference(one, {"predictions": torch.tensor([[1.0, -3.0]])}) == 0.25
    assert not largest_difference(one, {"predictions": torch.tensor([[1.0, float("nan")]])}) <= 1
    assert largest_difference(one, {}) == float("inf")
    small = {"predictions": torch.tensor([[1e-5, 0.0]])}
    assert largest_difference(small, {"predictions": torch.tensor([[2e-5, 0.0]])}) == pytest.approx(1)


def test_all_that_a_method_has_shares_its_batch_norm_in_several_processes() -> None:
    within = nn.ModuleList([timm.create_model("mobilenetv3_small_050", num_classes=3), nn.BatchNorm1d(2)])
    method = nn.ModuleDict({"network": SmallConvNet(3), "further": within})
    before = sum(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in method.modules())
    synchronised(method)
    shared = [module for module in method.modules() if isinstance(module, nn.SyncBatchNorm)]
    assert len(shared) == before > 4
    assert any(hasattr(module, "act") for module in shared)


def test_timms_batch_norm_keeps_its_activation_in_several_processes() -> None:
    """PyTorch's own conversion to statistics of all processes leaves it out."""
    torch.manual_seed(0)
    network = timm.create_model("mobilenetv3_small_050", num_classes=3).eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = network(images)
        shared = synchronised(network)
        assert any(isinstance(module, nn.SyncBatchNorm) for module in shared.modules())
        assert torch.equal(shared(images), expected)
        assert torch.equal(synchronised(SmallConvNet(3).eval())(images).isfinite(), torch.ones(2, 3, dtype=torch.bool))


class Padded(SmallConvNet):
    """Equal tensors, another function: other padding and another epsilon."""

    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps = 0.5
            if isinstance(module, nn.Conv2d):
                module.padding_mode = "circular"
                module._reversed_padding_repeated_twice = [1, 1, 1, 1]


FROZEN = {"freeze_features": True, "boundary": "classifier.hidden", "method": "aggregate", "views": 1, "epochs": 1}


def measured(folder: Path, **changes: Any) -> Predictions:
    run(generated.config(**FROZEN, **changes), folder, dataset=dataset(per_class=4))
    return Predictions.load(RunFolder(folder).predictions)


def test_frozen_features_are_those_of_the_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DMG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(backbones.BACKBONES, "padded", Padded)
    measured(tmp_path / "first")
    shared = measured(tmp_path / "second", backbone="padded")
    kept = sorted((tmp_path / "cache" / "features").iterdir())
    assert len(kept) == 2
    monkeypatch.setenv("DMG_CACHE", str(tmp_path / "empty"))
    alone = measured(tmp_path / "third", backbone="padded")
    assert np.array_equal(shared.logits["predictions"], alone.logits["predictions"])


def test_runs_of_one_function_share_their_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DMG_CACHE", str(tmp_path / "cache"))
    for number, changes in enumerate(({}, {"seed": 0, "epochs": 2}, {"method": "multi_headed"}, {"mean": 0.1})):
        run(generated.config(**{**FROZEN, **changes}), tmp_path / str(number), dataset=dataset(per_class=4))
        assert len(list((tmp_path / "cache" / "features").iterdir())) == (1 if number < 3 else 2)


class Hidden(SmallConvNet):
    """What it does stands where no signature looks: in a value of its module."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return super().forward(images * Switch.value + 1)


def test_what_no_signature_shows_is_seen_by_its_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DMG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(backbones.BACKBONES, "hidden", Hidden)
    answers = []
    for number, value in enumerate((1.0, -3.0, 1.0)):
        monkeypatch.setattr(Switch, "value", value)
        answers.append(measured(tmp_path / str(number), backbone="hidden").logits["predictions"])
        assert len(list((tmp_path / "cache" / "features").iterdir())) == min(number + 1, 2)
    assert np.array_equal(answers[0], answers[2])
    assert not np.allclose(answers[0], answers[1])


def test_folders_by_their_probes(tmp_path: Path) -> None:
    one, other = np.ones((2, 3), dtype=np.float32), np.full((2, 3), 2, dtype=np.float32)
    assert folder_for(tmp_path / "key", one) == tmp_path / "key"
    assert folder_for(tmp_path / "key", other) == tmp_path / "key-2"
    assert folder_for(tmp_path / "key", one * 1.001) == tmp_path / "key"
    assert folder_for(tmp_path / "key", other[:, :2]) == tmp_path / "key-3"


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("method", ["aggregate", "dmg"])
def test_networks_come_back_as_their_weights_made_them(tmp_path: Path, method: str) -> None:
    """Weights lie where the libraries keep what they have fetched, and are gone when the model is asked."""
    environment = {
        **os.environ,
        "TORCH_HOME": str(tmp_path / "torch"),
        "HF_HOME": str(tmp_path / "hub"),
        "HF_HUB_OFFLINE": "1",
        "DMG_CACHE": str(tmp_path / "cache"),
        "METHOD": method,
        "OMP_NUM_THREADS": "1",
    }
    names = ["googlenet@64", "mnasnet0_5@64", "densenet121@64", "timm:fbnetc_100@64", "timm:levit_128s"]
    script = Path(__file__).with_name("rebuilding.py")
    done = subprocess.run(
        [sys.executable, str(script), *names], env=environment, capture_output=True, text=True, timeout=900, check=False
    )
    lines = done.stdout.splitlines()
    assert len(lines) == len(names), done.stderr
    for line in lines:
        _, first, second, *_ = line.split()
        assert "FAILED" not in line
        assert float(first) < 1e-3, line
        assert float(second) < 1e-3, line
