import pytest
import torch

from domain_masks.analysis import site_analysis
from domain_masks.records.pairs import pair_of
from domain_masks.report.figures.mask_plots import active_plot, kinds_plot, overlap_plot, probabilities_plot
from domain_masks.report.tables.mask_tables import mask_rows

ODD = ("a$b$_{", "Ärzte & Co", "sketch\\alpha")


def values(count=3):
    logits = torch.linspace(-3, 3, 20 * count).reshape(count, 20)
    sites = {f"layer{index}": site_analysis(logits, ODD[:count]) for index in range(2)}
    return sites, {(row["quantity"], row["site"], row["name"]): row["value"] for row in mask_rows(sites, ODD[:count])}


def test_overlap_and_active_units_stand_by_site_and_the_mean_comes_last():
    sites, found = values()
    site = sites["layer1"]
    (panel,) = overlap_plot("n", "t", "c", {"held out": found}).panels
    assert [label for _, label in panel.ticks] == ["layer0", "layer1"]
    assert {series.label: series.y[1] for series in panel.series} == {
        **{" – ".join(sorted(pair_of(key, ODD))): iou for key, iou in site.pairwise_iou.items()},
        "mean of pairs": site.overall_iou,
    }
    assert panel.series[-1].is_mean
    (panel,) = active_plot("n", "t", "c", {"held out": found}).panels
    assert {series.label: series.y[1] for series in panel.series} == {
        **site.activated,
        "average of sources": site.average_activated,
    }


def test_a_name_has_one_colour_in_all_panels():
    _, found = values()
    without = {key: value for key, value in found.items() if key[2] != ODD[0]}
    first, second = active_plot("n", "t", "c", {"one": found, "two": without}).panels
    colours = {series.label: series.colour for series in first.series}
    assert len(set(colours.values())) == len(colours)
    assert all(colours[series.label] == series.colour for series in second.series)


def test_one_source_has_no_pairs():
    _, found = values(1)
    (panel,) = overlap_plot("n", "t", "c", {"held out": found}).panels
    assert not panel.series


def test_kinds_are_stacked_to_one():
    sites, found = values()
    plot = kinds_plot("n", "t", "c", {"sketch": found, "": found})
    assert [panel.title for panel in plot.panels] == list(sites)
    assert [label for _, label in plot.panels[0].ticks] == ["sketch", "–"]
    assert sum(series.y[0] for series in plot.panels[0].series) == pytest.approx(1)


def test_probabilities_are_shares_of_units():
    sites, _ = values()
    plot = probabilities_plot("n", sites)
    assert [panel.title for panel in plot.panels] == ["layer0 (20 units)", "layer1 (20 units)"]
    for series in plot.panels[0].series:
        assert series.kind == "steps"
        assert sum(series.y) == pytest.approx(1)
        assert series.x[0] == pytest.approx(0.025)
