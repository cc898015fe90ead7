"""Drawings: what stands in them, not how they look."""

import io

import numpy as np
import pytest
import torch
from matplotlib.text import Text
from PIL import Image

from domain_masks.analysis import mask_figures, prediction_figures, site_analysis
from domain_masks.analysis.from_predictions import calibration, confusion, nearest
from domain_masks.analysis.galleries import galleries, thumbnail
from domain_masks.analysis.sheets import sheet
from domain_masks.evaluation import mask_by_domain, reporting_splits, shown
from domain_masks.records.analysis import Ablation, Confusion, SiteEpoch
from references.predictions import generated

ODD = ("a$b$_{", "Ärzte & Co", "sketch\\alpha")


def texts(figure):
    """Draw the figure and return everything that is written in it."""
    content = io.BytesIO()
    figure.savefig(content, format="png")
    image = np.asarray(Image.open(io.BytesIO(content.getvalue())).convert("L"))
    assert image.std() > 5, "nothing is drawn"
    return [text.get_text() for text in figure.findobj(Text) if text.get_visible() and text.get_text()]


def ablation(domain="sketch"):
    rows = [{"site": "all", "kind": "none", "fraction": 0.0, "neurons": 0, "draws": 1, "accuracy": {domain: 0.8}}]
    for site in ("fc", "all"):
        for kind, matched in (("shared", None), ("random", "shared")):
            row = {"site": site, "kind": kind, "fraction": 1.0, "neurons": 9, "draws": 1, "accuracy": {domain: 0.3}}
            rows.append(row if matched is None else {**row, "matched": matched, "deviation": {domain: 0.1}})
    return Ablation.model_validate({"split": {domain: "held_out"}, "images": {domain: 10}, "rows": rows})


def test_the_table_of_masks_outlines_own_cells():
    predictions = generated()
    table, splits = mask_by_domain(predictions), reporting_splits(predictions)
    figure = prediction_figures.mask_by_domain_figure(table, splits)
    written = texts(figure)
    for row in table.values():
        for value in row.values():
            assert f"{100 * value:.1f}" in written
    assert "only photo" in written
    outlined = {
        (round(box.get_x() + box.get_width() / 2), round(box.get_y() + box.get_height() / 2))
        for box in figure.axes[0].patches
    }
    assert outlined == {(0, 0), (1, 1), (2, 2)}


@pytest.mark.parametrize("sites", [1, 3])
def test_masks_of_sites(sites):
    logits = torch.linspace(-3, 3, 60).reshape(3, 20)
    analyses = {f"layer{index}": site_analysis(logits, ODD) for index in range(sites)}
    written = texts(mask_figures.overlap_figure(analyses))
    assert f"{analyses['layer0'].overall_iou:.3f}" in written
    assert f"{ODD[0]} – {ODD[1]}" in written
    written = texts(mask_figures.probabilities_figure(analyses))
    assert set(ODD) <= set(written)


def test_one_source_has_no_pairs_to_draw():
    texts(mask_figures.overlap_figure({"fc": site_analysis(torch.zeros(1, 4), ("photo",))}))


@pytest.mark.parametrize("count", [1, 100])
def test_kinds_over_epochs(count):
    kinds = {"off": 0.2, "shared": 0.7, "specific": 0.1, "activated": {}}
    rows = [SiteEpoch(epoch=epoch, site=site, **kinds) for epoch in range(1, count + 1) for site in ("a", "b")]
    written = texts(mask_figures.kinds_figure(rows))
    assert {"off 20.0 %", "shared 70.0 %", "specific 10.0 %"} <= set(written)


def test_ablation_names_its_lines():
    written = texts(mask_figures.ablation_figure(ablation(), "sketch"))
    assert {"shared", "random (as shared)", "fc", "all sites"} <= set(written)


def test_ablation_of_masks_that_are_off_everywhere():
    nothing = ablation().model_copy(update={"rows": ablation().rows[:1]})
    texts(mask_figures.ablation_figure(nothing, "sketch"))


def test_what_is_predicted():
    parts = shown(generated())
    found = nearest(generated())
    written = texts(prediction_figures.nearest_figure(found))
    assert f"sketch ({len(parts['sketch'])})" in written
    errors = {domain: calibration(part) for domain, part in parts.items()}
    written = texts(prediction_figures.reliability_figure(errors))
    assert any(f"ECE {100 * errors['sketch'].ece:.1f} %" in text for text in written)
    taken = confusion(parts["sketch"])
    written = texts(prediction_figures.confusion_figure(taken, "sketch"))
    assert {str(count) for row in taken.counts for count in row if count} <= set(written)


def test_a_class_without_images_says_so():
    counts = Confusion(classes=["cat", "$dog$"], counts=[[2, 1], [0, 0]], of=9, pairs=[])
    written = texts(prediction_figures.confusion_figure(counts, "sketch"))
    assert "$dog$ (none)" in written
    assert any("2 classes with the most errors of 9" in " ".join(text.split()) for text in written)


def test_a_sheet_of_thumbnails():
    found = galleries({"sketch": shown(generated(per_split=60))["sketch"]})
    chosen = [one for one in found.values() if one.kind == "nearest"]
    small = thumbnail(Image.new("RGB", (30, 20), "green"))
    thumbnails = {item.id: small for one in chosen for item in one.items}
    drawn = sheet(chosen, thumbnails)
    assert {one.title for one in chosen} <= set(texts(drawn))
    assert sum(len(axes.images) for axes in drawn.axes) == sum(len(one.items) for one in chosen)
    assert sheet(chosen, {}) is None
