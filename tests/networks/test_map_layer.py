"""The layer of class activation maps: found in every kind of network, and put back as it was."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from deploy.examples import CLASSES, images_for, named
from domain_masks.errors import InputError
from domain_masks.networks import Network, build_backbone
from domain_masks.networks.map_layer import find_map_layer

FOUND = {
    "small": ("features", 4, None),
    "resnet18": ("layer4.1", 2, None),
    "swin_t": ("permute", 2, None),
    "timm:vit_tiny_patch16_224": ("blocks.10", 14, 1),
}


@pytest.mark.parametrize("name", FOUND)
def test_the_last_layer_with_a_place_in_the_image(name: str) -> None:
    net = named(name)
    layer = find_map_layer(net)
    assert (layer.name, layer.height, layer.width, layer.prefix) == (
        FOUND[name][0],
        *[FOUND[name][1]] * 2,
        FOUND[name][2],
    )
    images = images_for(net, 2)
    seen: list[Tensor] = []

    def there_and_back(output: Tensor) -> Tensor:
        seen.append(layer.channels_first(output))
        return layer.restored(seen[-1], output)

    with torch.no_grad():
        expected = net.domain_logits(images)
        with net.on_output(layer.name, there_and_back):
            found = net.domain_logits(images)
    torch.testing.assert_close(found, expected)
    assert seen[0].shape[-2:] == (layer.height, layer.width)


class TwiceOrChannelsLast(nn.Module):
    """A convolution that is called twice, then an output (N, H, W, K)."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.last = nn.Linear(8, 8)
        self.again = nn.Conv2d(8, 8, 1)
        self.head = nn.Linear(8, 2)

    def forward(self, images: Tensor) -> Tensor:
        placed = self.last(self.first(images).movedim(1, -1)).movedim(-1, 1)
        return self.head(self.again(self.again(placed)).mean((2, 3)))


def test_channels_last_and_a_module_that_is_called_twice() -> None:
    layer = find_map_layer(Network(TwiceOrChannelsLast(), "head", image_size=6))
    assert (layer.name, layer.axis) == ("last", -1)
    output = torch.randn(2, 6, 6, 8)
    assert layer.channels_first(output).shape == (2, 8, 6, 6)
    assert torch.equal(layer.restored(layer.channels_first(output), output), output)


def test_a_network_without_a_place_is_said() -> None:
    net = Network(nn.Sequential(nn.Flatten(), nn.Linear(48, 8), nn.Linear(8, 2)), "2", image_size=4)
    with pytest.raises(InputError, match="no module of the network has an output with a height and a width"):
        find_map_layer(net)


def test_every_module_keeps_its_hooks_alone() -> None:
    net = Network(build_backbone("small", len(CLASSES)), "classifier.head", image_size=16)
    find_map_layer(net)
    assert not any(module._forward_hooks for module in net.network.modules())
    assert all(parameter.grad is None for parameter in net.parameters())
