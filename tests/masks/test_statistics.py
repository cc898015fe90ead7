import itertools

import pytest
import torch

from domain_masks.masks import mask_statistics, neuron_counts, neuron_kinds
from references import masks as slow

NAMES = ["art", "cartoon", "photo", "sketch"]


@pytest.mark.parametrize("domains", [2, 3, 4])
@pytest.mark.parametrize("size", [1, 9])
def test_statistics_match_the_reference(domains, size):
    logits = torch.randn(domains, size, generator=torch.Generator().manual_seed(domains))
    hard = [[float(on) for on in row] for row in slow.hard(logits.tolist())]
    statistics = mask_statistics(logits, NAMES[:domains])
    pairs = {
        f"{NAMES[i]}|{NAMES[j]}": slow.soft_iou(hard[i], hard[j]) for i in range(domains) for j in range(i + 1, domains)
    }
    assert statistics["pairwise_iou"] == pytest.approx(pairs)
    assert statistics["overall_iou"] == pytest.approx(sum(pairs.values()) / len(pairs))
    assert statistics["activated"] == pytest.approx(
        {name: sum(row) / size for name, row in zip(NAMES, hard, strict=False)}
    )


def test_one_domain_has_no_overlap_and_says_nothing_of_it():
    statistics = mask_statistics(torch.tensor([[1.0, -1.0, 1.0, 1.0]]), ["photo"])
    assert statistics == {
        "pairwise_iou": {},
        "activated": {"photo": 0.75},
        "average_activated": 0.75,
        "kinds": {"off": 0.25, "shared": 0.75, "specific": 0.0},
    }


def test_every_neuron_is_of_one_kind():
    logits = torch.tensor([[1.0, -1.0, -1.0, 2.0, 0.0], [1.0, -1.0, 1.0, 3.0, 0.0]])
    # A logit of 0 is m = 0.5, which is not above it: off.
    assert mask_statistics(logits, ["a", "b"])["kinds"] == {"off": 0.4, "shared": 0.4, "specific": 0.2}


@pytest.mark.parametrize(
    ("logits", "iou"),
    [([[1.0, -1.0], [1.0, -1.0]], 1.0), ([[1.0, -1.0], [-1.0, 1.0]], 0.0), ([[-1.0, -1.0], [-1.0, -1.0]], 1.0)],
)
def test_identical_disjoint_and_empty_masks(logits, iou):
    assert mask_statistics(torch.tensor(logits), ["a", "b"])["overall_iou"] == iou


def test_emptied_masks_overlap_and_half_emptied_ones_count_pair_by_pair():
    two_empty = torch.tensor([[-1.0, -1.0], [-2.0, -3.0], [1.0, -1.0]])
    statistics = mask_statistics(two_empty, ["a", "b", "c"])
    assert statistics["pairwise_iou"] == {"a|b": 1.0, "a|c": 0.0, "b|c": 0.0}
    assert statistics["overall_iou"] == pytest.approx(1 / 3)
    assert statistics["average_activated"] == pytest.approx(1 / 6)
    assert mask_statistics(torch.full((3, 4), -9.0), ["a", "b", "c"])["overall_iou"] == 1.0


def test_names_must_be_as_many_as_rows():
    with pytest.raises(ValueError, match="zip"):
        mask_statistics(torch.zeros(3, 2), ["a"])


def test_logits_with_a_gradient_are_taken_as_they_are():
    logits = torch.nn.Parameter(torch.randn(2, 3))
    assert isinstance(mask_statistics(logits, ["a", "b"])["overall_iou"], float)


def slow_counts(hard):
    """Count neuron by neuron, as one would on paper."""
    counts = {"shared": 0, "several": 0, "off": 0}
    for neuron in range(hard.shape[1]):
        on = [row for row in range(len(hard)) if hard[row, neuron]]
        kind = "off" if not on else "shared" if len(on) == len(hard) else on[0] if len(on) == 1 else "several"
        counts[kind] = counts.get(kind, 0) + 1
    return counts


@pytest.mark.parametrize("domains", [1, 2, 3, 5])
def test_counts_are_those_of_counting_one_by_one(domains):
    logits = torch.randn(domains, 400, generator=torch.Generator().manual_seed(domains)) + 0.3
    found, expected = neuron_counts(logits), slow_counts(logits.sigmoid() > 0.5)
    assert (found.shared, found.several, found.off) == (expected["shared"], expected["several"], expected["off"])
    assert found.alone == tuple(expected.get(row, 0) for row in range(domains))
    assert sum(found.parts) == found.size == 400
    kinds = neuron_kinds(logits)
    assert kinds == {
        "off": found.off / 400,
        "shared": found.shared / 400,
        "specific": (found.several + sum(found.alone)) / 400,
    }


def test_each_pattern_of_three_masks_is_counted_once():
    found = neuron_counts(torch.tensor(list(itertools.product((-1.0, 1.0), repeat=3))).T)
    assert (found.off, found.several, found.shared, found.alone) == (1, 3, 1, (1, 1, 1))
