"""``dm.train`` with a network of the program: recorded by name, loaded and resumed where the name is registered."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import domain_masks as dm
from domain_masks.errors import InputError


class OwnNetwork(nn.Sequential):
    def __init__(self, classes: int = 10) -> None:
        body = [nn.Conv2d(3, 8, 5, stride=4), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()]
        super().__init__(*body, nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, classes))


@pytest.mark.parametrize("backbone", [OwnNetwork, OwnNetwork()], ids=["class", "module"])
def test_a_network_of_the_program_is_trained_and_loaded(tmp_path: Path, backbone: object) -> None:
    settings = {"target": "ink", "fast": True, "device": "cpu", "workers": 0, "quiet": True, "size": 32}
    run = dm.train(**settings, backbone=backbone, sites=["5", "7"], out=tmp_path / "run")
    assert run.results.backbone == f"{__name__}.OwnNetwork"
    image = torch.rand(3, 32, 32)
    assert run.model.predict(image)[0].top == dm.load(run, device="cpu").predict(image)[0].top
    again = dm.train(out=tmp_path / "run", resume=True, quiet=True)
    assert again.results == run.results
    name = dm.networks.BACKBONES.pop(f"{__name__}.OwnNetwork")
    try:
        for call in (lambda: dm.load(run), lambda: dm.evaluate(run, quiet=True)):
            with pytest.raises(InputError, match=r"is not known here: .*BACKBONES"):
                call()
    finally:
        dm.networks.BACKBONES[f"{__name__}.OwnNetwork"] = name


@pytest.mark.slow
def test_commands_refuse_a_network_that_is_not_registered_with_one_message(tmp_path: Path) -> None:
    run = dm.train(
        target="ink",
        fast=True,
        device="cpu",
        workers=0,
        quiet=True,
        backbone=OwnNetwork,
        sites=["5"],
        out=tmp_path / "run",
    )
    for command in (
        ["predict", str(run.folder.path), __file__],
        ["evaluate", str(run.folder.path)],
        ["export", str(run.folder.path)],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "domain_masks", *command], capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode == 2
        assert "is not known here" in done.stderr
        assert "Traceback" not in done.stderr
