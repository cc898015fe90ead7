import torch

from domain_masks.analysis import histogram, site_analysis

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
