"""``dm.export``."""

from __future__ import annotations

from pathlib import Path

import pytest

import domain_masks as dm
from domain_masks.calls import TrainedRun
from domain_masks.errors import InputError


def test_a_run_is_exported(run: TrainedRun, tmp_path: Path) -> None:
    exported = dm.export(run, format="pt2", out=tmp_path / "model.pt2", quiet=True)
    assert exported.path == tmp_path / "model.pt2"  # type: ignore[union-attr]
    assert exported.path.is_file()  # type: ignore[union-attr]


def test_what_cannot_be_exported_is_one_message(run: TrainedRun, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"out: expected a file name that ends in \.onnx"):
        dm.export(run, out=tmp_path / "model.pt2")
    with pytest.raises(InputError, match="there is no model in"):
        dm.export(tmp_path)
