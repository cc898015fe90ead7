import pytest

from domain_masks.report.figures.analysis_plots import ablation_plot, ablation_sites, calibration_plot, nearest_plot
from report.made_analysis import made_analysis


@pytest.fixture(scope="module")
def analysis():
    return made_analysis()


def test_shares_of_the_nearest_source_add_up(analysis):
    plot = nearest_plot("n", analysis.nearest_source)
    (panel,) = plot.panels
    assert [label for _, label in panel.ticks] == list(analysis.nearest_source.domains)
    for place, (_, domain) in enumerate(panel.ticks):
        assert sum(series.y[place] for series in panel.series) == pytest.approx(1)
        shares = analysis.nearest_source.domains[domain]
        assert {series.label: series.y[place] for series in panel.series} == shares
    assert f"{100 * analysis.nearest_source.right.accuracy:.1f} %" in plot.caption


def test_every_line_of_an_ablation_begins_where_nothing_is_zeroed(analysis):
    assert ablation_sites(analysis.ablation) == ["all", "features.17"]
    plot = ablation_plot(
        "n", analysis.ablation, {"sketch: all": ("sketch", "all"), "sketch: one": ("sketch", "features.17")}
    )
    assert [series.label for series in plot.legend] == ["shared", "random, as many as shared"]
    for panel in plot.panels:
        assert panel.title.endswith("9 shared")
        assert all((series.x[0], series.y[0]) == (0, 80) for series in panel.series)
    shared, random = plot.panels[0].series
    assert (list(shared.x), list(shared.y)) == ([0, 0.5, 1], [80, 60, 30])
    assert random.spread == (None, pytest.approx(10))


def test_an_ablation_of_masks_that_are_off_everywhere_has_no_lines(analysis):
    nothing = analysis.ablation.model_copy(update={"rows": analysis.ablation.rows[:1]})
    assert ablation_sites(nothing) == []
    assert ablation_plot("n", nothing, {"sketch": ("sketch", "all")}) is None


def test_calibration_shows_accuracy_and_how_many_images(analysis):
    plot = calibration_plot("n", analysis.calibration, ["sketch"])
    panel = next(panel for panel in plot.panels if panel.title.startswith("sketch"))
    found = analysis.calibration["sketch"]
    assert panel.title == f"sketch (held out)\nECE {found.ece:.3f}, n = {found.images:,}"
    shares, accuracy = panel.series
    assert sum(shares.y) == pytest.approx(1)
    assert list(accuracy.y) == [value for value in found.bins.accuracy if value is not None]
    assert panel.diagonal
