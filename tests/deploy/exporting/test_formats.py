"""What a format needs, and what cannot be written in it, is one message."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from domain_masks.deploy.exporting.formats import check_format, trace, write_onnx
from domain_masks.errors import InputError


def reference() -> nn.Module:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 5)).eval()


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

    with pytest.raises(InputError, match=r"torch\.export cannot trace the network"):
        trace(Choosing(), torch.zeros(2, 3, 8, 8), {0: "batch"})
