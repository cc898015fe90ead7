import torch

from domain_masks.analysis import histogram, site_analysis, site_epochs
from domain_masks.records import MetricsLog
from domain_masks.records.analysis import SiteEpoch

LOGITS = torch.tensor([[3.0, -3.0, 1.0, 0.1], [2.0, -2.0, -1.0, 0.1]])


def test_a_site_by_hand():
    site = site_analysis(LOGITS, ("photo", "art"))
    assert site.neurons == 4
    assert site.kinds.by_kind() == {"off": 0.25, "shared": 0.5, "specific": 0.25}
    assert site.activated == {"photo": 0.75, "art": 0.5}
    assert site.pairwise_iou == {"photo|art": 2 / 3}
    assert site.overall_iou == 2 / 3


def test_one_source_has_no_overlap():
    site = site_analysis(LOGITS[:1], ("photo",))
    assert site.pairwise_iou == {}
    assert site.overall_iou is None


def test_the_histogram_counts_every_neuron_once():
    logits = torch.tensor([[-50.0, -1.0, 0.0, 1.0, 50.0]])
    found = histogram(logits, ("photo",), bins=4)
    assert found.edges == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert found.counts == {"photo": [1, 1, 2, 1]}


def test_epochs_are_read_from_the_columns_of_metrics(tmp_path):
    log = MetricsLog(tmp_path / "metrics.csv")
    shares = {"mask_kinds/a.b/off": 0.5, "mask_kinds/a.b/shared": 0.25, "mask_kinds/a.b/specific": 0.25}
    log.append({"epoch": 1, "loss": 1.0})
    log.append({"epoch": 2, "mask_iou/a.b": 0.5, "mask_activated/a.b/in/out": 0.75, **shares})
    log.append({"epoch": 3, "mask_activated/a.b/in/out": 1.0, **shares})
    kinds = {"off": 0.5, "shared": 0.25, "specific": 0.25}
    assert site_epochs(log.read()) == [
        SiteEpoch(epoch=2, site="a.b", **kinds, activated={"in/out": 0.75}, overall_iou=0.5),
        SiteEpoch(epoch=3, site="a.b", **kinds, activated={"in/out": 1.0}),
    ]
    assert site_epochs([{"epoch": 0, "mask_iou/a": 1.0}]) == []
