"""``dm.report``: a command, and still the package of its parts."""

from __future__ import annotations

from pathlib import Path

import pytest

import domain_masks as dm
import domain_masks.report as package
from domain_masks.calls import ReportPackage, TrainedRun
from domain_masks.errors import InputError


def test_a_report_is_written_with_a_call_of_the_package(run: TrainedRun, tmp_path: Path) -> None:
    written = dm.report(run, out=tmp_path, quiet=True)
    assert written.page == tmp_path / "report.html"
    assert Path(written).stat().st_size == written.size
    assert written.files
    assert "\n" not in repr(written)


def test_the_package_has_its_names_and_its_type_has_them_too() -> None:
    assert dm.report is package
    assert dm.report.build_report.__module__ == "domain_masks.report.report_builder"
    names = {name for name in vars(ReportPackage) if not name.startswith("_")}
    assert names <= set(package.__all__)


def test_what_cannot_be_reported_is_one_message(run: TrainedRun, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected folders that `dmg train`"):
        dm.report(tmp_path)
    with pytest.raises(InputError, match=r"select: .*got 'best'"):
        dm.report(run, select="best")
