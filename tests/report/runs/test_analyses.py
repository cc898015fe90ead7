"""An analysis is used where it is of the run's own results, and read in the place of computing the same again."""

from __future__ import annotations

from pathlib import Path

import pytest

from domain_masks.records import Analysis, Predictions, Results
from domain_masks.records.collection import collect
from domain_masks.records.measured_metrics import FittedTemperature
from domain_masks.report import build_report
from domain_masks.report.runs.analyses import stored_analysis
from domain_masks.report.runs.groups import groups_of
from domain_masks.report.tables.mask_tables import mask_by_domain_frame
from report.made_analysis import made_analysis
from report.made_runs import make_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    path = make_run(tmp_path / "run")
    made_analysis(Predictions.load(path / "predictions.npz")).write(path / "analysis.json")
    return path


def test_tables_of_masks_are_the_same_with_and_without_an_analysis(run: Path) -> None:
    def frame():
        (group,) = groups_of(collect([run]).runs)
        rows = mask_by_domain_frame(group, group.lines[0]).sort_values(["mask", "domain"])
        return rows.drop(columns="runs").to_dict("records"), group.analysis(group.records[0])

    with_analysis, found = frame()
    assert found is not None
    (run / "analysis.json").unlink()
    without, found = frame()
    assert found is None
    assert with_analysis == without


def test_the_report_reads_masks_of_every_domain_and_epoch_from_the_analysis(run: Path) -> None:
    analysis = Analysis.read(run / "analysis.json")
    table = {mask: dict(row) for mask, row in analysis.mask_by_domain.items()}
    table["known:photo"]["cartoon"] = 0.125
    analysis.model_copy(update={"mask_by_domain": table}).write(run / "analysis.json")
    report = build_report(collect([run]))
    (shown,) = [one for one in report.tables if "masks-by-domain" in one.name]
    assert 0.125 in [cell.value for row in shown.rows for cell in row]
    (curves,) = [one for one in report.figures if "masks-by-epoch" in one.name]
    assert curves.panels[0].title == "features.17", "the sites of the analysis, not of metrics.csv"


def test_an_analysis_of_other_results_is_named_and_not_used(run: Path) -> None:
    results = Results.read(run / "results.json")
    assert results.out_of_domain is not None
    other = results.out_of_domain.model_copy(update={"per_domain": {"sketch": 0.0}, "accuracy": 0.0})
    results.model_copy(update={"out_of_domain": other}).write(run / "results.json")
    (record,) = collect([run]).runs
    stored = stored_analysis(record)
    assert stored.analysis is None
    assert "older than the run's results" in stored.problem
    report = build_report(collect([run]))
    assert not [one for one in report.tables if one.name.endswith("-nearest")]
    (section,) = [one for one in report.sections if one.title == "Diagnostics"]
    assert stored.problem in section.blocks[-1].items


def test_a_run_without_an_analysis_has_no_diagnostics(run: Path) -> None:
    (run / "analysis.json").unlink()
    assert "Diagnostics" not in [one.title for one in build_report(collect([run])).sections]


def test_an_analysis_without_the_temperature_of_the_results_is_named_and_not_used(run: Path) -> None:
    def stored(**fitted: float):
        temperatures = {name: FittedTemperature(value=value, images=9) for name, value in fitted.items()}
        results = Results.read(run / "results.json").model_copy(update={"temperatures": temperatures or None})
        results.write(run / "results.json")
        (record,) = collect([run]).runs
        return stored_analysis(record)

    assert stored().analysis is not None
    assert "another temperature than the run's results" in stored(predictions=0.5).problem
    analysis = Analysis.read(run / "analysis.json")
    calibrated = {name: part.model_copy(update={"temperature": 0.5}) for name, part in analysis.calibration.items()}
    analysis.model_copy(update={"calibration": calibrated}).write(run / "analysis.json")
    assert stored(predictions=0.5).analysis is not None
    assert stored(predictions=0.25).analysis is None
    assert stored().analysis is None
