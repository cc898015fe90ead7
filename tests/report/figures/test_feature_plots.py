"""Figures of features in two dimensions."""

from __future__ import annotations

from domain_masks.records.explanations import FeatureMap
from domain_masks.report.figures.feature_plots import MOST_CLASSES, colour_of, feature_plots
from domain_masks.report.figures.palette import LIGHT, MEAN
from domain_masks.report.figures.svg import panel_svg, swatch


def points(classes: int) -> FeatureMap:
    count = 4 * classes
    return FeatureMap(
        method="PCA",
        layer="fc",
        size=9,
        explained=[0.5, 0.25],
        domains=["photo", "sketch"],
        classes=[f"c{place}" for place in range(classes)],
        x=[float(place) for place in range(count)],
        y=[float(-place) for place in range(count)],
        domain=[place % 2 for place in range(count)],
        label=[place // 4 for place in range(count)],
    )


def test_every_point_is_in_both_figures() -> None:
    by_domain, by_class = feature_plots("features", points(3), ["sketch"])
    (panel,) = by_domain.panels
    assert [series.label for series in panel.series] == ["photo", "sketch (held out)"]
    assert [len(series.x) for series in panel.series] == [6, 6]
    assert [panel.title for panel in by_class.panels] == ["photo", "sketch (held out)"]
    assert sum(len(series.x) for panel in by_class.panels for series in panel.series) == 12
    assert {panel.x_limits for panel in (*by_domain.panels, *by_class.panels)} == {(-0.55, 11.55)}
    assert "PC 1 (50% of variance)" in panel.x_label
    assert "9 features at the input of fc of 12 images" in by_domain.caption


def test_many_classes_share_one_grey() -> None:
    _, by_class = feature_plots("features", points(MOST_CLASSES + 3), [])
    labels = [series.label for series in by_class.legend]
    assert len(labels) == MOST_CLASSES + 1
    assert labels[-1] == "other classes"
    assert len({series.colour for series in by_class.legend}) == len(labels)
    assert all(colour_of(place) % len(LIGHT.series) != MEAN for place in range(20))


def test_points_are_drawn_and_each_marker_has_a_swatch() -> None:
    _, by_class = feature_plots("features", points(9), [])
    drawn = panel_svg(by_class.panels[0], "points")
    assert drawn.count("<use") >= 18
    swatches = [swatch(series) for series in by_class.legend]
    assert "<circle" in swatches[0]
    assert "<rect" in swatches[7]
