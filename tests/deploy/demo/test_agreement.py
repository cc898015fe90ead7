from __future__ import annotations

import itertools

import pytest
import torch

from domain_masks.deploy.demo import site_agreements
from domain_masks.masks.statistics import neuron_kinds


def slow_counts(hard: torch.Tensor) -> dict[str, int]:
    """Count neuron by neuron, as one would on paper."""
    counts = {"shared": 0, "several": 0, "off": 0}
    for neuron in range(hard.shape[1]):
        on = [row for row in range(len(hard)) if hard[row, neuron]]
        kind = "off" if not on else "shared" if len(on) == len(hard) else on[0] if len(on) == 1 else "several"
        counts[kind] = counts.get(kind, 0) + 1
    return counts


@pytest.mark.parametrize("domains", [1, 2, 3, 5])
def test_counts_are_those_of_counting_one_by_one(domains: int) -> None:
    logits = torch.randn(domains, 400, generator=torch.Generator().manual_seed(domains)) + 0.3
    names = tuple("abcde"[:domains])
    (found,) = site_agreements({"layer": logits}, names)
    expected = slow_counts(logits.sigmoid() > 0.5)
    assert (found.site, found.size) == ("layer", 400)
    assert (found.shared, found.several, found.off) == (expected["shared"], expected["several"], expected["off"])
    assert found.only == {name: expected.get(row, 0) for row, name in enumerate(names)}
    assert found.shared + found.several + found.off + sum(found.only.values()) == 400
    assert found.shared / 400 == pytest.approx(neuron_kinds(logits)["shared"])


def test_each_pattern_of_three_masks_is_counted_once() -> None:
    patterns = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=3))).T
    (found,) = site_agreements({"layer": patterns}, ("a", "b", "c"))
    assert (found.off, found.several, found.shared) == (1, 3, 1)
    assert found.only == {"a": 1, "b": 1, "c": 1}


def test_sites_keep_their_order_and_no_mask_gives_no_site() -> None:
    logits = {"second": torch.ones(2, 3), "first": torch.ones(2, 4)}
    assert [(one.site, one.shared) for one in site_agreements(logits, ("a", "b"))] == [("second", 3), ("first", 4)]
    assert site_agreements({}, ("a", "b")) == []
