"""``dm.analyze``."""

from __future__ import annotations

from pathlib import Path

import pytest

import domain_masks as dm
from domain_masks.calls import TrainedRun
from domain_masks.errors import InputError, RunFolderError


def test_a_run_is_analyzed_and_drawn(run: TrainedRun) -> None:
    (analyzed,) = dm.analyze(run, no_images=True, quiet=True)
    assert analyzed.folder.analysis.is_file()
    assert analyzed.analysis.figures
    assert all((analyzed.folder.figures / name).is_file() for name in analyzed.analysis.figures)
    assert "\n" not in repr(analyzed)


def test_what_cannot_be_analyzed_is_one_message(run: TrainedRun, tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="no run at or below"):
        dm.analyze(tmp_path, quiet=True)
    with pytest.raises(InputError, match=r"images: .*got 0"):
        dm.analyze([run, tmp_path], images=0)
