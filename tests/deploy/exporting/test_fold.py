"""Folded is unfolded: for every kind of layer behind a mask, and for the networks that have presets."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn

from deploy.examples import (
    FOLDED,
    LIGHT,
    NAMED,
    SCALED,
    Positions,
    Sequence,
    around,
    images_for,
    method,
    named,
    one_mask,
    under,
)
from domain_masks.deploy.exporting.fold import SCALE, fold, mask_factors
from domain_masks.networks import MaskedNetwork, Site

EVERY = [pytest.param(name, marks=() if name in LIGHT else pytest.mark.slow) for name in NAMED]


def assert_folded_is_unfolded(net: MaskedNetwork, factors: dict[str, torch.Tensor]) -> nn.Module:
    images = images_for(net)
    expected = under(net, factors, images)
    before = copy.deepcopy(net.network.state_dict())
    folded = fold(net, factors)
    with torch.no_grad():
        got = folded.network(images)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))
    # Would the same hold without the mask, the test could not fail.
    with torch.no_grad():
        assert (net.network(images) - expected).abs().max() > 1e-3 * expected.abs().max()
    assert type(folded.network) is type(net.network)
    assert dict(folded.network.named_parameters()).keys() >= dict(net.network.named_parameters()).keys()
    for name, value in net.network.state_dict().items():
        assert torch.equal(value, before[name]), "the user's network is left as it is"
    return folded.network


@pytest.mark.parametrize("name", FOLDED)
def test_layers_that_take_the_mask_into_their_weights(name: str) -> None:
    net = around(Sequence(*copy.deepcopy(FOLDED[name])), ("site", "head"), 8)
    assert_folded_is_unfolded(net, one_mask(net))
    site, head = fold(net, one_mask(net)).sites
    assert site.is_folded
    assert head.layers == ("head",)


@pytest.mark.parametrize("name", SCALED)
def test_layers_before_which_the_mask_stays_a_factor(name: str) -> None:
    net = around(Sequence(*copy.deepcopy(SCALED[name])), ("site", "head"), 8)
    folded = assert_folded_is_unfolded(net, one_mask(net))
    site, head = fold(net, one_mask(net)).sites
    assert not site.is_folded
    assert site.reason
    assert head.is_folded
    assert folded.site.get_buffer(SCALE).shape == (6, 1, 1)
    assert set(folded.state_dict()) == {*net.network.state_dict(), f"site.{SCALE}"}


@pytest.mark.parametrize("name", [*FOLDED, "residual"])
def test_factors_of_zero(name: str) -> None:
    layers = {**FOLDED, **SCALED}[name]
    net = around(Sequence(*copy.deepcopy(layers)), ("site", "head"), 8)
    factors = {site: torch.where(mask < 0.5, 0.0, mask) for site, mask in one_mask(net).items()}
    assert all(0 < (own == 0).sum() < len(own) for own in factors.values())
    assert_folded_is_unfolded(net, factors)


def test_channels_that_a_view_flattens() -> None:
    net = around(Positions(), ("features.2", "hidden", "head"), 8)
    assert_folded_is_unfolded(net, one_mask(net))
    sites = fold(net, one_mask(net)).sites
    assert [site.layers for site in sites] == [("hidden",), ("hidden",), ("head",)]


def test_channels_last_and_tokens() -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, 6, 4, stride=4)
            self.mixer = nn.Sequential(nn.Linear(6, 8), nn.GELU())
            self.norm = nn.LayerNorm(8)
            self.head = nn.Linear(8, 5)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.head(self.norm(self.mixer(self.stem(images).permute(0, 2, 3, 1)).flatten(1, 2))[:, 0])

    net = around(Tokens(), (Site("mixer", -1, 6), Site("norm", -1, 8), "head"), 16)  # type: ignore[arg-type]
    folded = assert_folded_is_unfolded(net, one_mask(net))
    mixer, norm, head = fold(net, one_mask(net)).sites
    assert mixer.layers == ("mixer.0",)
    assert "LayerNorm" in norm.reason or "no layer" in norm.reason
    assert folded.norm.get_buffer(SCALE).shape == (8,)
    assert head.is_folded


def test_weights_that_two_layers_share_are_left_alone() -> None:
    network = Sequence(nn.Conv2d(6, 6, 1), nn.ReLU(), nn.Conv2d(6, 6, 1))
    network.site[2].weight = network.site[0].weight
    net = around(network, ("site", "head"), 8)
    assert_folded_is_unfolded(net, one_mask(net))
    assert not fold(net, one_mask(net)).sites[0].is_folded


def test_a_folded_network_can_be_copied_and_pickled() -> None:
    net = around(Sequence(*copy.deepcopy(SCALED["residual"])), ("site", "head"), 8)
    folded, images = fold(net, one_mask(net)).network, images_for(net)
    for other in (copy.deepcopy(folded), pickle.loads(pickle.dumps(folded))):
        assert torch.equal(other(images), folded(images))


def test_reports_say_which_layers_and_why() -> None:
    net = around(Sequence(*copy.deepcopy(SCALED["residual"])), ("site", "head"), 8)
    site, head = map(str, fold(net, one_mask(net)).sites)
    assert site == "site: a factor per channel, since the masked input also feeds a sum, as a residual connection does"
    assert head == "head: folded into the weights of head"


@pytest.mark.parametrize("name", EVERY)
def test_named_networks(name: str) -> None:
    net = named(name)
    assert_folded_is_unfolded(net, one_mask(net))


@pytest.mark.parametrize("sites", ["last-stage", "released-code"])
@pytest.mark.parametrize("name", ["resnet18", pytest.param("timm:resnet18", marks=pytest.mark.slow)])
def test_stages_of_a_resnet_are_folded_whole(name: str, sites: str) -> None:
    net = named(name, (sites,))
    assert_folded_is_unfolded(net, one_mask(net))
    assert all(site.is_folded for site in fold(net, one_mask(net)).sites)


def test_factors_of_an_ensemble() -> None:
    dmg = method()
    soft = dmg.network.masks.probabilities()
    assert mask_factors(dmg, "predictions") is None
    for site, mask in soft.items():
        torch.testing.assert_close(mask_factors(dmg, "masks")[site], mask.mean(0))
        torch.testing.assert_close(mask_factors(dmg, "known:paper")[site], mask[1])
    assert mask_factors(method("aggregate"), "predictions") is None


def test_a_folded_mobilenet_computes_nothing_that_the_bare_one_does_not() -> None:
    net = named("mobilenet_v2")
    folded = fold(net, one_mask(net))
    assert all(site.is_folded for site in folded.sites)
    bare, other = dict(net.network.state_dict()), dict(folded.network.state_dict())
    assert list(bare) == list(other)
    assert all(bare[name].stride() == other[name].stride() for name in bare)
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in folded.network.modules())
    images = images_for(net)
    with torch.no_grad():
        assert operations(folded.network, images) == operations(net.network, images)


def operations(network: nn.Module, images: torch.Tensor) -> list[str]:
    """Return the names of the operators that a network calls."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        network(images)
    return [event.name for event in profile.events() if event.name.startswith("aten::")]
