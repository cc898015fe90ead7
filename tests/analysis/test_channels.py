"""Channels that differ between masks, and the images that excite them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from deploy.examples import SOURCES, images_for, method
from domain_masks.analysis.channels import Excitations, activations, differing_channels
from domain_masks.networks import MaskedNetwork
from domain_masks.records import Predictions

FIRST = torch.tensor([[2.0, -1.0, 3.0, 1.0], [-2.0, -3.0, -1.0, 2.0], [2.0, 1.0, 3.0, 0.5]])
SECOND = torch.tensor([[4.0, -1.0], [-4.0, -1.0], [4.0, -1.0]])


def test_they_are_ranked_by_the_difference_of_probabilities() -> None:
    found = differing_channels({"a": FIRST, "b": SECOND}, SOURCES, most=2)
    assert [(pair.first, pair.second) for pair in found.pairs] == [
        ("ink", "paper"),
        ("ink", "outline"),
        ("paper", "outline"),
    ]
    first = found.pairs[0]
    assert first.differing == {"a": 2, "b": 1}
    assert [(one.site, one.channel, one.on, one.off) for one in first.channels] == [
        ("b", 0, "ink", "paper"),
        ("a", 0, "ink", "paper"),
    ]
    assert first.channels[0].on_probability == pytest.approx(torch.sigmoid(torch.tensor(4.0)).item())
    assert [(one.channel, one.on) for one in found.pairs[1].channels] == [(1, "outline")]
    assert all(one.images == [] for pair in found.pairs for one in pair.channels)


def test_equal_masks_have_none() -> None:
    found = differing_channels({"a": FIRST[:1].expand(2, -1)}, SOURCES[:2], most=6)
    assert found.pairs[0].channels == []
    assert found.pairs[0].differing == {"a": 0}


def network() -> MaskedNetwork:
    net = method("dmg").network
    assert isinstance(net, MaskedNetwork)
    return net


def by_hand(net: MaskedNetwork, features: Tensor) -> dict[str, Tensor]:
    """The inputs of both sites of the small network, under each source's masks."""
    classifier, found = net.network.classifier, {"classifier.hidden": [], "classifier.head": []}
    for domain in range(len(SOURCES)):
        masks = {site: mask[domain] for site, mask in net.masks.probabilities().items()}
        found["classifier.hidden"].append(features)
        hidden = torch.relu(classifier.hidden(features * masks["classifier.hidden"]))
        found["classifier.head"].append(hidden)
    return {site: torch.stack(values) for site, values in found.items()}


def test_activations_are_those_in_front_of_each_mask() -> None:
    net = network()
    with torch.no_grad():
        features = net.features(images_for(net, 5)).flatten(1)
        found, expected = activations(net, features), by_hand(net, features)
    assert set(found) == set(expected)
    for site, values in expected.items():
        torch.testing.assert_close(found[site], values)


def test_the_images_that_excite_a_channel_most_are_of_the_sources() -> None:
    net = network()
    logits = {site: values.detach() for site, values in net.masks.items()}
    differences = differing_channels(logits, SOURCES, most=3)
    count = 12
    sampled = Predictions(
        ids=np.array([f"{n}.png" for n in range(count)]),
        labels=np.arange(count) % 5,
        domains=np.arange(count) % 4,
        splits=np.array(["held_out" if n % 4 == 3 else "test" for n in range(count)]),
        logits={"predictions": np.zeros((count, 5), np.float32)},
        classes=("circle", "square", "star", "line", "dot"),
        domain_names=(*SOURCES, "mosaic"),
        sources=SOURCES,
    )
    with torch.no_grad():
        features = net.features(images_for(net, count)).flatten(1)
        excitations = Excitations(differences, SOURCES)
        for part in features.split(5):
            excitations.add(net, part)
        expected = by_hand(net, features)
    found = excitations.with_images(sampled, most=2)
    assert found.images == {"ink": 3, "paper": 3, "outline": 3}
    for pair in found.pairs:
        for channel in pair.channels:
            values = expected[channel.site][SOURCES.index(channel.on), :, channel.channel].clone()
            values[3::4] = -torch.inf  # not of a source
            best = values.argsort(descending=True, stable=True)[:2].tolist()
            assert [image.id for image in channel.images] == [f"{n}.png" for n in best]
            assert channel.images[0].domain == SOURCES[best[0] % 4]
            assert channel.images[0].activation == pytest.approx(values[best[0]].item(), rel=1e-3, abs=1e-6)
