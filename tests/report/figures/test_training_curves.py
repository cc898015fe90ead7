import math

import pytest

from domain_masks.records.analysis import SiteEpoch
from domain_masks.report.figures.training_curves import masks_by_epoch_plot, training_plot


def test_curves_are_means_over_runs_with_their_deviation():
    runs = {"dmg": [[{"epoch": 1, "loss": 1.0}], [{"epoch": 1, "loss": 3.0}]]}
    plot = training_plot("n", runs, oracle=True)
    assert plot.oracle
    (panel,) = plot.panels
    (series,) = panel.series
    assert (list(series.x), list(series.y)) == ([1], [2.0])
    assert series.spread == (pytest.approx(math.sqrt(2)),)


def test_a_mean_ends_where_the_first_run_ends():
    short = [{"epoch": epoch, "validation_accuracy": 0.5} for epoch in (1, 2, 3)]
    long = [{"epoch": epoch, "validation_accuracy": 0.9} for epoch in range(1, 7)]
    plot = training_plot("n", {"dmg": [short, long, []], "aggregate": [long]})
    assert "ends where the first run stops" in plot.caption
    ours, others = plot.panels[0].series
    assert (list(ours.x), list(ours.y)) == ([1, 2, 3], [pytest.approx(70.0)] * 3)
    assert list(others.x) == [1, 2, 3, 4, 5, 6]
    kinds = {"off": 0.2, "shared": 0.7, "specific": 0.1, "activated": {}}
    masks = [
        [SiteEpoch(epoch=e, site="a", overall_iou=iou, **kinds) for e in range(1, n)] for n, iou in ((3, 0.2), (5, 0.8))
    ]
    for panel in masks_by_epoch_plot("n", "t", masks).panels:
        assert {tuple(series.x) for series in panel.series} == {(1, 2)}


def test_what_is_no_number_is_left_out():
    runs = {"dmg": [[{"epoch": 1, "loss": float("nan"), "validation_accuracy": 0.25}]]}
    (panel,) = training_plot("n", runs).panels
    assert panel.title == "Validation accuracy"
    assert list(panel.series[0].y) == [25.0]
    assert training_plot("n", {"dmg": [[]]}) is None


def test_masks_over_the_epochs_site_by_site():
    kinds = {"off": 0.2, "shared": 0.7, "specific": 0.1, "activated": {}}
    run = [SiteEpoch(epoch=epoch, site=site, overall_iou=0.5, **kinds) for epoch in (1, 2) for site in ("a", "b")]
    plot = masks_by_epoch_plot("n", "t", [run, run])
    assert [panel.title for panel in plot.panels] == ["Overlap", "a", "b"]
    assert [series.label for series in plot.panels[0].series] == ["a", "b"]
    assert {series.label: list(series.y) for series in plot.panels[1].series} == {
        kind: [kinds[kind]] * 2 for kind in ("off", "shared", "specific")
    }
    assert masks_by_epoch_plot("n", "t", [[]]) is None
