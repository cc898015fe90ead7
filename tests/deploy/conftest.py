"""One small trained run and its images as files, for all tests of what is done with a model."""

from __future__ import annotations

from pathlib import Path

import pytest

import generated
from domain_masks.deploy import Model, load
from domain_masks.training import run


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "run"
    run(generated.config(epochs=2, lr_masks=0.5), folder, dataset=generated.dataset(8))
    return folder


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every image that the run was trained and measured on, under its id."""
    root = tmp_path_factory.mktemp("images")
    data = generated.dataset(8)
    for row, name in enumerate(data.ids):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        data.open_image(row).save(root / name)
    return root


@pytest.fixture(scope="session")
def model(run_folder: Path) -> Model:
    return load(run_folder, device="cpu")
