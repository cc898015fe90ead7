import copy

import pytest
import torch
from torch import nn
from torchvision.models.swin_transformer import SwinTransformerBlock

from domain_masks.errors import InputError
from domain_masks.networks import MaskedNetwork, Network, Site, build_backbone
from domain_masks.networks.site import apply_mask
from references.networks import (
    AuxiliaryInTraining,
    CalledTwice,
    ChannelsLast,
    DependsOnValues,
    FunctionalDropout,
    MakesConstants,
    OwnNetwork,
    PassedBy,
    TwoOutputs,
)

PLACES = [
    ("small", 32, "features.block1"),
    ("small", 32, "features.block3"),
    ("small", 32, "classifier"),
    ("small", 32, "classifier.hidden"),
    ("small", 32, "classifier.head"),
    ("own", 16, "stem"),
    ("own", 16, "stage.1"),
    ("own", 16, "neck"),
    ("own", 16, "out"),
    ("resnet18", 64, "layer4.1"),
]


def build(name):
    torch.manual_seed(0)
    return OwnNetwork() if name == "own" else build_backbone(name, 5)


def images_of(size, count=3, seed=1):
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("axis", "shape"), [(1, (2, 3)), (1, (2, 3, 4, 5)), (-1, (2, 4, 5, 3)), (-1, (2, 4, 3))])
def test_a_mask_multiplies_its_channel_axis(axis, shape):
    inputs, mask = torch.randn(shape), torch.rand(2, 3)
    masked = apply_mask(inputs, mask, axis)
    for instance in range(2):
        for channel in range(3):
            expected = inputs[instance].select(axis if axis < 0 else axis - 1, channel) * mask[instance, channel]
            assert torch.equal(masked[instance].select(axis if axis < 0 else axis - 1, channel), expected)
    assert apply_mask(inputs, None, axis) is inputs
    assert apply_mask(inputs.bfloat16(), mask, axis).dtype == torch.bfloat16


@pytest.mark.parametrize(("axis", "size"), [(1, 4), (4, 3), (-4, 3), (0, 2), (-3, 2)])
def test_a_site_that_does_not_fit_is_one_message(axis, size):
    with pytest.raises(InputError, match=r"at a mask site.*\(2, 3, 5\): give the Site the axis and the size"):
        apply_mask(torch.randn(2, 3, 5), torch.rand(2, size), axis)


@pytest.mark.parametrize(("name", "size", "boundary"), PLACES)
def test_task_after_features_is_the_network(name, size, boundary):
    backbone, images = build(name), images_of(size)
    twin = copy.deepcopy(backbone)
    net = Network(backbone, boundary, image_size=size).eval()
    with torch.no_grad():
        expected = twin.eval()(images)
        assert torch.equal(net.task(net.features(images)), expected)
        assert torch.equal(net(images), expected)


@pytest.mark.parametrize(("name", "size", "boundary"), PLACES)
def test_training_is_that_of_the_bare_network(name, size, boundary):
    """Same loss, gradients, batch norm statistics and dropout, from the same random state."""
    backbone, images = build(name), images_of(size, count=4)
    twin = copy.deepcopy(backbone).train()
    net = Network(backbone, boundary, image_size=size).train()
    torch.manual_seed(7)
    expected = twin(images)
    torch.manual_seed(7)
    got = net(images)
    assert torch.equal(got, expected)
    got.square().sum().backward()
    expected.square().sum().backward()
    for (key, own), (_, other) in zip(net.network.named_parameters(), twin.named_parameters(), strict=True):
        assert torch.equal(own.grad, other.grad), key
    for (key, own), (_, other) in zip(net.network.named_buffers(), twin.named_buffers(), strict=True):
        assert torch.equal(own, other), key


@pytest.mark.parametrize("training", [True, False])
def test_dropout_by_its_function_follows_the_mode(training):
    backbone = FunctionalDropout()
    net = Network(copy.deepcopy(backbone), "second", image_size=8).train(training)
    images = images_of(8)
    torch.manual_seed(3)
    expected = backbone.train(training)(images)
    torch.manual_seed(3)
    assert torch.equal(net(images), expected)
    repeated = net(images)
    assert torch.equal(repeated, expected) is not training


def test_the_network_is_left_as_it_was():
    backbone, images = build("small"), images_of(32)
    backbone.eval()
    backbone.features.train()
    before = {name: (id(module), module.training, set(module.__dict__)) for name, module in backbone.named_modules()}
    state = copy.deepcopy(backbone.state_dict())
    with torch.no_grad():
        expected = copy.deepcopy(backbone).eval()(images)
    net = MaskedNetwork(backbone, 3, ["classifier.hidden", "classifier.head"], "features.block3", 32)
    assert not net.training
    with torch.no_grad():
        net.eval().domain_logits(images)
        net(images, torch.tensor([0, 1, 2]))
        assert torch.equal(net.network(images), expected)
    assert net.network is backbone
    after = {name: (id(module), module.training, set(module.__dict__)) for name, module in backbone.named_modules()}
    assert {name: (facts[0], facts[2]) for name, facts in after.items()} == {
        name: (facts[0], facts[2]) for name, facts in before.items()
    }
    assert all(not module._forward_pre_hooks and not module._forward_hooks for module in backbone.modules())
    assert state.keys() == backbone.state_dict().keys()
    assert all(torch.equal(value, backbone.state_dict()[name]) for name, value in state.items())


def test_buffers_are_read_in_each_call():
    net = Network(build("own"), "stage", image_size=16).eval()
    images = images_of(16)
    with torch.no_grad():
        before = net(images)
        net.network.mean.add_(1.0)
        after = net(images)
        assert torch.equal(after, net.network(images))
    assert not torch.equal(before, after)
    assert not [name for name in vars(net.network) if "constant" in name]


def test_feature_and_task_state_divide_the_network():
    net = Network(build("own"), "neck", image_size=16)
    features, task = net.feature_state(), net.task_state()
    assert set(task) == {"neck.weight", "neck.bias", "out.weight", "out.bias"}
    assert not set(features) & set(task)
    assert set(features) | set(task) == set(net.network.state_dict())
    assert {"scale", "mean", "stem.1.running_mean"} <= set(features)


def test_a_parameter_of_the_root_belongs_to_where_it_is_used():
    assert "scale" in Network(build("own"), "stem", image_size=16).feature_state()


@pytest.mark.parametrize("sites", [["block"], ["tokens"], ["convolution"], ["head"], ["block", "tokens", "head"]])
def test_axes_of_channels_last_and_tokens(sites):
    torch.manual_seed(0)
    backbone = ChannelsLast().eval()
    net = MaskedNetwork(backbone, 2, sites, image_size=16).eval()
    expected = {
        "block": Site("block", -1, 12),
        "tokens": Site("tokens", -1, 9),
        "convolution": Site("convolution", 1, 7),
    }
    expected["head"] = Site("head", 1, 4)
    assert net.sites == tuple(expected[name] for name in sites)


def test_swin_blocks_are_masked_along_their_last_axis():
    block = SwinTransformerBlock(16, 2, [4, 4], [0, 0])
    backbone = nn.Sequential()
    backbone.add_module("embed", nn.Conv2d(3, 16, 4, stride=4))
    backbone.add_module("permute", _Permute())
    backbone.add_module("block", block)
    backbone.add_module("pool", _Pool())
    backbone.add_module("head", nn.Linear(16, 5))
    net = MaskedNetwork(backbone, 2, ["block"], image_size=32).eval()
    assert net.sites == (Site("block", -1, 16),)
    seen = []
    block.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    images, bare = images_of(32), None
    with torch.no_grad():
        bare = backbone[:2](images)
        net(images, torch.tensor([0, 1, 1]))
        soft = net.masks.soft(torch.tensor([0, 1, 1]))["block"]
    assert torch.equal(seen[-1], bare * soft[:, None, None, :])


class _Permute(nn.Module):
    def forward(self, maps):
        return maps.permute(0, 2, 3, 1)


class _Pool(nn.Module):
    def forward(self, maps):
        return maps.mean((1, 2))


def test_an_axis_can_be_set_by_hand():
    net = MaskedNetwork(ChannelsLast(), 2, [Site("block", 1, 4)], image_size=16)
    assert net.masks["block"].shape == (2, 4)


@pytest.mark.parametrize(
    "site", [Site("block", -1, 13), Site("block", 4, 12), Site("block", 0, 1), Site("block", -4, 1)]
)
def test_a_site_that_does_not_fit_is_refused(site):
    with pytest.raises(InputError, match=r"site 'block' has axis .* shape \(N, 4, 4, 12\)"):
        MaskedNetwork(ChannelsLast(), 2, [site], image_size=16)


def test_an_unknown_site_is_named_with_a_suggestion():
    with pytest.raises(InputError, match=r"unknown site 'classifier.hiden': .*classifier.hidden.* Did you mean"):
        MaskedNetwork(build("small"), 2, ["classifier.hiden"], image_size=32)


def test_an_unknown_boundary_is_named_with_a_suggestion():
    with pytest.raises(InputError, match=r"unknown boundary 'clasifier': .* Did you mean 'classifier'"):
        Network(build("small"), "clasifier", image_size=32)


def test_no_site_is_refused():
    with pytest.raises(InputError, match="no mask site"):
        MaskedNetwork(build("small"), 2, [], image_size=32)


def test_a_site_named_twice_is_refused():
    with pytest.raises(InputError, match=r"'classifier\.head' is named twice"):
        MaskedNetwork(build("small"), 2, ["classifier.head", "classifier.head"], image_size=32)


def test_a_site_before_the_boundary_is_refused():
    with pytest.raises(InputError, match=r"site 'features\.block1' is before the boundary 'classifier'"):
        MaskedNetwork(build("small"), 2, ["features.block1"], "classifier", 32)


@pytest.mark.parametrize("boundary", ["left", "right"])
def test_the_input_of_all_branches_cuts_and_a_mask_reaches_one_of_them(boundary):
    net = MaskedNetwork(PassedBy(), 1, [boundary], image_size=8, initialisation=-200.0).eval()
    images = images_of(8)
    other = net.network.right if boundary == "left" else net.network.left
    masked = getattr(net.network, boundary)
    with torch.no_grad():
        maps = other(net.network.stem(images)) + masked.bias[:, None, None]
        torch.testing.assert_close(net(images), net.network.head(maps.mean((2, 3))))


def test_a_boundary_inside_a_residual_block_is_refused():
    with pytest.raises(InputError, match=r"boundary 'layer4\.1\.conv2' cannot split the network: other values"):
        Network(build("resnet18"), "layer4.1.conv2", image_size=64)


@pytest.mark.parametrize("kind", ["boundary", "site"])
def test_a_module_called_twice_is_refused(kind):
    with pytest.raises(InputError, match=f"{kind} 'block' is called 2 times"):
        MaskedNetwork(
            CalledTwice(), 2, ["block" if kind == "site" else "head"], "stem" if kind == "site" else "block", 8
        )


def test_a_size_that_the_network_does_not_accept_is_named():
    with pytest.raises(InputError, match="does not accept images of 16x16 pixels"):
        Network(FunctionalDropout(), "second", image_size=16)


def test_a_tuple_is_no_logits():
    with pytest.raises(InputError, match=r"expected a classifier that returns logits \(N, C\), got tuple"):
        Network(TwoOutputs(), "head", image_size=8)


def test_a_tuple_in_training_is_no_logits():
    with pytest.raises(InputError, match="returns one tensor of logits, got tuple"):
        Network(AuxiliaryInTraining(), "head", image_size=8)


def test_feature_maps_are_no_logits():
    with pytest.raises(InputError, match=r"expected a classifier .* got \(1, 4, 6, 6\)"):
        Network(nn.Sequential(nn.Conv2d(3, 4, 3)), "0", image_size=8)


def test_a_forward_that_depends_on_values_is_refused():
    with pytest.raises(InputError, match="cannot trace the network to head: its forward depends on the values"):
        Network(DependsOnValues(), "head", image_size=8)


def test_a_forward_that_makes_tensors_is_refused_and_left_as_it_was():
    backbone = MakesConstants()
    attributes = set(vars(backbone))
    with pytest.raises(InputError, match=r"creates a tensor of shape \(6,\), .* register it as a buffer"):
        Network(backbone, "head", image_size=8)
    assert set(vars(backbone)) == attributes


def test_a_module_that_is_never_called_is_refused():
    backbone = build("own")
    backbone.unused = nn.Linear(2, 2)
    with pytest.raises(InputError, match="site 'unused' is never called"):
        MaskedNetwork(backbone, 2, ["unused"], image_size=16)


@pytest.mark.parametrize(
    ("boundary", "shape"), [("stem", (3,)), ("block", (12,)), ("tokens", (9,)), ("convolution", (7,)), ("head", (4,))]
)
def test_pooling_keeps_the_channels_and_averages_over_places(boundary, shape):
    backbone = ChannelsLast().eval() if boundary != "stem" else OwnNetwork().eval()
    net = Network(backbone, boundary, image_size=16).eval()
    features = net.features(torch.randn(2, 3, 16, 16))
    pooled = net.pooled(features)
    assert pooled.shape == (2, *shape)
    axis = {"stem": 1, "convolution": 1, "head": 1}.get(boundary, -1)
    for instance in range(2):
        for channel in range(shape[0]):
            places = features[instance].select(axis if axis < 0 else axis - 1, channel)
            torch.testing.assert_close(pooled[instance, channel], places.mean())


def test_pooling_follows_an_axis_that_was_set_by_hand():
    net = MaskedNetwork(ChannelsLast(), 2, [Site("block", 1, 4)], image_size=16).eval()
    features = torch.randn(2, 4, 4, 12)
    torch.testing.assert_close(net.pooled(features), features.mean((2, 3)))
