"""Pruned is folded with the small factors set to 0; and what is removed is gone."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from deploy.examples import (
    FOLDED,
    LIGHT,
    NAMED,
    SCALED,
    Positions,
    Residual,
    Sequence,
    around,
    images_for,
    named,
    one_mask,
    under,
)
from domain_masks.deploy.exporting.prune import Pruned, prune
from domain_masks.errors import InputError
from domain_masks.networks import MaskedNetwork

EVERY = [pytest.param(name, marks=() if name in LIGHT else pytest.mark.slow) for name in NAMED]


def assert_pruned_is_zeroed(net: MaskedNetwork, factors: dict[str, torch.Tensor], threshold: float) -> Pruned:
    images = images_for(net)
    zeroed = {site: torch.where(own < threshold, 0.0, own) for site, own in factors.items()}
    expected = under(net, zeroed, images)
    before = copy.deepcopy(net.network.state_dict())
    pruned = prune(net, factors, threshold)
    with torch.no_grad():
        got, full = pruned.network(images), pruned.folded(images)
    scale = float(expected.abs().max())
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5 * scale)
    torch.testing.assert_close(got, full, rtol=1e-4, atol=1e-5 * scale)
    for name, value in net.network.state_dict().items():
        assert torch.equal(value, before[name]), "the user's network is left as it is"
    assert pruned.after == sum(parameter.numel() for parameter in pruned.network.parameters()) <= pruned.before
    for site, report in zip(net.sites, pruned.sites, strict=True):
        assert report.below == int((factors[site.name] < threshold).sum())
        assert report.not_computed <= site.size
    own = {name for name in pruned.network.state_dict() if not name.startswith("pruned_inputs_")}
    assert own <= set(pruned.folded.state_dict()), "names survive"
    return pruned


@pytest.mark.parametrize("threshold", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("name", [*FOLDED, *SCALED])
def test_layers_of_every_kind(name: str, threshold: float) -> None:
    net = around(Sequence(*copy.deepcopy({**FOLDED, **SCALED}[name])), ("site", "head"), 8)
    pruned = assert_pruned_is_zeroed(net, one_mask(net), threshold)
    if threshold == 0:
        assert pruned.after == pruned.before or name == "residual"


def test_neurons_of_linear_layers_go_with_their_producers() -> None:
    net = around(Positions(), ("hidden", "head"), 8)
    factors = {"hidden": torch.ones(20), "head": torch.ones(16)}
    factors["hidden"][4:8] = 0.1  # one of five channels, whole
    factors["hidden"][9] = 0.1  # one position of another
    factors["head"][::2] = 0.1
    pruned = assert_pruned_is_zeroed(net, factors, 0.5)
    network = pruned.network
    assert network.features.get_submodule("0").weight.shape == (4, 3, 3, 3)
    assert network.hidden.weight.shape == (8, 15)
    assert network.head.weight.shape == (5, 8)
    hidden, head = pruned.sites
    assert (hidden.below, hidden.removed, hidden.not_computed) == (5, 5, 4)
    assert "position" in hidden.reason
    assert (head.below, head.removed, head.not_computed, head.reason) == (8, 8, 8, "")


def test_depthwise_convolutions_and_norms_follow() -> None:
    layers = (nn.Conv2d(6, 8, 1), nn.BatchNorm2d(8), nn.ReLU6(), nn.Conv2d(8, 8, 3, groups=8), nn.BatchNorm2d(8))
    net = around(Sequence(*layers, outputs=8), ("head",), 8)
    factors = {"head": torch.tensor([1, 0, 1, 1, 0, 0, 1, 1.0])}
    site = assert_pruned_is_zeroed(net, factors, 0.5).network.site
    assert site.get_submodule("0").weight.shape == (5, 6, 1, 1)
    assert site.get_submodule("3").weight.shape == (5, 1, 3, 3)
    assert site.get_submodule("3").groups == 5
    assert site.get_submodule("4").running_var.shape == (5,)


def test_a_residual_block_keeps_its_identity_path() -> None:
    net = around(Sequence(Residual(), nn.Sequential(Residual())), ("site.1", "head"), 8)
    factors = {"site.1": torch.tensor([1, 0.1, 1, 0.1, 1, 1.0]), "head": torch.tensor([1, 1, 0.1, 0.1, 1, 1.0])}
    pruned = assert_pruned_is_zeroed(net, factors, 0.5)
    block = pruned.network.site.get_submodule("1").get_submodule("0")
    # Behind the mask channels 1 and 3 are 0; before the head 2 and 3 are not looked at.
    assert block.first.weight.shape[1] == 4
    assert block.second.weight.shape[0] == 4
    site, head = pruned.sites
    assert (site.removed, head.removed, head.not_computed) == (2, 2, 2)
    # Channel 1 is needed, as 0, by the sum; channel 3 by nobody.
    assert site.not_computed == 1
    assert site.reason


def test_what_another_layer_needs_stays_there() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, 6, 3)
            self.masked = nn.Conv2d(6, 4, 1)
            self.other = nn.Conv2d(6, 4, 1)
            self.head = nn.Linear(4, 5)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            stem = self.stem(images)
            return self.head((self.masked(stem) + self.other(stem)).mean((2, 3)))

    net = around(Shared(), ("masked",), 8)
    # The boundary would be passed by: opened at the stem instead.
    pruned = assert_pruned_is_zeroed(net, {"masked": torch.tensor([1, 0.1, 1, 0.1, 1, 1.0])}, 0.5)
    assert pruned.network.masked.weight.shape == (4, 4, 1, 1)
    assert pruned.network.stem.weight.shape[0] == pruned.network.other.weight.shape[1] == 6
    (site,) = pruned.sites
    assert (site.removed, site.not_computed) == (2, 0)
    assert "other" in site.reason


@pytest.mark.parametrize("name", EVERY)
def test_named_networks(name: str) -> None:
    net = named(name)
    pruned = assert_pruned_is_zeroed(net, one_mask(net), 0.6)
    assert pruned.sites[-1].removed == pruned.sites[-1].below > 0


def test_alexnet_shrinks_to_the_share_that_a_domain_uses() -> None:
    torch.manual_seed(0)
    net = named("alexnet")
    factors = one_mask(net)
    pruned = assert_pruned_is_zeroed(net, factors, 0.5)
    used = {site: int((own >= 0.5).sum()) for site, own in factors.items()}
    first, second, third = used["classifier.1"], used["classifier.4"], used["classifier.6"]
    classifier = pruned.network.classifier
    assert classifier.get_submodule("1").weight.shape == (second, first)
    assert classifier.get_submodule("4").weight.shape == (third, second)
    assert classifier.get_submodule("6").weight.shape == (5, third)
    before = sum(parameter.numel() for parameter in net.network.classifier.parameters())
    after = sum(parameter.numel() for parameter in classifier.parameters())
    assert after == first * second + second + second * third + third + third * 5 + 5
    assert after < 0.3 * before  # about half of the neurons, so about a quarter of the weights


@pytest.mark.parametrize("threshold", [-0.1, 1.5, float("nan")])
def test_thresholds_are_probabilities(threshold: float) -> None:
    net = around(Positions(), ("head",), 8)
    with pytest.raises(InputError, match="from 0 to 1"):
        prune(net, one_mask(net), threshold)
