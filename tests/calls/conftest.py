"""One small run that all calls read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

import domain_masks as dm
from domain_masks.calls import TrainedRun


@pytest.fixture(scope="package")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrainedRun]:
    before = os.environ.get("DMG_CACHE")
    os.environ["DMG_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    out = tmp_path_factory.mktemp("runs") / "ink"
    yield dm.train(fast=True, device="cpu", quiet=True, target="ink", workers=0, out=out)
    if before is None:
        del os.environ["DMG_CACHE"]
    else:
        os.environ["DMG_CACHE"] = before


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "grey.png"
    Image.new("RGB", (32, 32), (90, 90, 90)).save(path)
    return path
