import pytest
import torch
from torch import nn

from domain_masks.errors import InputError
from domain_masks.networks import build_backbone
from domain_masks.networks.stages import channel_axis_of, output_shapes, places_of, stages

EXPECTED = {
    "small": ["features.block1", "features.block2", "features.block3"],
    "resnet18": ["maxpool", "layer1", "layer2", "layer3", "layer4"],
    "alexnet": ["features.1", "features.4", "features.11", "features.12"],
    "mobilenet_v2": ["features.1", "features.3", "features.6", "features.13", "features.18"],
    "swin_t": ["features.1", "features.3", "features.5", "permute"],
    "timm:vit_tiny_patch16_224": ["blocks.2", "blocks.5", "blocks.8", "blocks.11"],
}


@pytest.mark.parametrize("name", EXPECTED)
def test_stages_end_where_the_resolution_changes_or_after_a_quarter_of_the_blocks(name):
    size = {"small": 32, "mobilenet_v2": 96}.get(name, 224)
    assert list(stages(build_backbone(name, 4), size)) == EXPECTED[name]


def test_a_stage_is_no_part_of_a_block_that_changes_the_resolution_itself():
    network = build_backbone("mobilenet_v2", 4)
    shapes = output_shapes(network, 96)
    # The first layer of the block that strides is still at the resolution before it.
    assert shapes["features.4.conv.0"][2:] == shapes["features.3"][2:] == (24, 24)
    assert "features.4.conv.0" not in stages(network, 96, shapes)


def test_shapes_leave_the_network_as_it_was():
    network = build_backbone("small", 4).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    shapes = output_shapes(network, 16)
    assert shapes["features.block2"] == (1, 32, 4, 4)
    assert network.training
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())


def test_what_is_called_twice_has_no_shape():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.relu, self.conv, self.head = nn.ReLU(), nn.Conv2d(3, 4, 1), nn.Linear(4, 2)

        def forward(self, images):
            return self.head(self.relu(self.relu(self.conv(images))).mean((2, 3)))

    assert set(output_shapes(Twice(), 8)) == {"conv", "head"}


def test_a_network_without_maps_and_blocks_has_no_stages():
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 4), nn.ReLU(), nn.Linear(4, 2))
    with pytest.raises(
        InputError, match=r"the stages of .* cannot be determined by resolution: name the modules, from"
    ):
        stages(network, 8)


@pytest.mark.parametrize(
    ("shape", "channels", "places"),
    [
        ((2, 5), 1, ()),
        ((2, 7, 5), 2, (1,)),
        ((2, 5, 7, 7), 1, (2, 3)),
        ((2, 7, 7, 5), 3, (1, 2)),
        ((2, 7, 7, 7), 1, (2, 3)),
    ],
)
def test_axes(shape, channels, places):
    assert channel_axis_of(shape) == channels
    assert places_of(shape) == places
