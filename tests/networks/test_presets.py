import pytest
import timm
import torch
from torch import nn
from torchvision import models

from domain_masks.errors import InputError
from domain_masks.networks import Site, build_backbone, find_head, layout, masked, preset_names
from domain_masks.networks.presets import find_last_block
from references.networks import NoHead, OwnNetwork, ResNet


def skeleton(name):
    """The modules of a network without memory or initialisation: all that a preset looks at."""
    with torch.device("meta"):
        if name.startswith("timm:"):
            return timm.create_model(name.removeprefix("timm:"), num_classes=7)
        return models.get_model(name, weights=None, num_classes=7)


@pytest.mark.parametrize(
    ("name", "preset", "sites"),
    [
        ("alexnet", "paper", ("classifier.1", "classifier.4", "classifier.6")),
        ("vgg11", "paper", ("classifier.0", "classifier.3", "classifier.6")),
        ("resnet18", "paper", ("layer4.1", "fc")),
        ("resnet18", "last-stage", ("layer4", "fc")),
        ("resnet18", "released-code", ("layer3", "layer4", "fc")),
        ("resnet50", "paper", ("layer4.2", "fc")),
        ("resnet50", "last-stage", ("layer4", "fc")),
        ("resnet50", "released-code", ("layer3", "layer4", "fc")),
        ("timm:resnet18", "paper", ("layer4.1", "fc")),
        ("timm:resnet50", "released-code", ("layer3", "layer4", "fc")),
        ("mobilenet_v2", "last-block", ("features.17", "classifier.1")),
        ("mobilenet_v3_small", "last-block", ("features.11", "classifier.3")),
        ("convnext_tiny", "last-block", ("features.7.2", "classifier.2")),
        ("efficientnet_b0", "last-block", ("features.7.0", "classifier.1")),
        ("vit_b_16", "last-block", ("encoder.layers.encoder_layer_11", "heads.head")),
        ("swin_t", "last-block", ("features.7.1", "head")),
        ("densenet121", "last-block", ("features.denseblock4", "classifier")),
        ("squeezenet1_1", "last-block", ("features.12", "classifier.1")),
        ("timm:vit_tiny_patch16_224", "last-block", ("blocks.11", "head")),
        ("timm:deit_tiny_distilled_patch16_224", "last-block", ("blocks.11", "head")),
        ("timm:convnext_atto", "last-block", ("stages.3.blocks.1", "head.fc")),
        ("resnet18", "last-block", ("layer4.1", "fc")),
    ],
)
def test_presets(name, preset, sites):
    network = skeleton(name)
    chosen = layout(network, (preset,))
    assert chosen.sites == sites
    assert chosen.boundary == sites[0]
    if preset == preset_names(network)[0]:
        assert layout(network) == chosen
    names = dict(network.named_modules())
    assert all(site in names for site in sites)


def test_names_of_the_presets():
    assert preset_names(skeleton("resnet18")) == ("paper", "last-stage", "released-code")
    assert preset_names(skeleton("alexnet")) == ("paper",)
    assert preset_names(skeleton("mobilenet_v2")) == ("last-block",)
    assert preset_names(build_backbone("small", 5)) == ("paper",)
    assert preset_names(OwnNetwork()) == ()


@pytest.mark.parametrize(
    ("preset", "sizes"),
    [
        ("paper", {"layer4.1": 512, "fc": 512}),
        ("last-stage", {"layer4": 256, "fc": 512}),
        ("released-code", {"layer3": 128, "layer4": 256, "fc": 512}),
    ],
)
def test_masked_channels_of_resnet18(preset, sizes):
    net = masked(models.resnet18(num_classes=7), 3, sites=preset, image_size=32)
    assert {site.name: site.size for site in net.sites} == sizes
    assert {site.axis for site in net.sites} == {1}
    assert net.boundary == next(iter(sizes))


def test_sites_and_boundary_by_name():
    network = build_backbone("small", 5)
    assert layout(network, ("classifier.head",)).boundary == "classifier.head"
    assert layout(network, ("classifier.head",), "features").boundary == "features"
    site = Site("classifier.hidden", 1, 256)
    assert layout(network, (site, "classifier.head")).sites == (site, "classifier.head")
    assert layout(network, (site,)).boundary == "classifier.hidden"


def test_a_network_of_a_known_class_name_without_its_modules_has_no_such_preset():
    network = ResNet()
    assert preset_names(network) == ()
    with pytest.raises(InputError, match=r"ResNet has no default mask sites: name the modules .* layer1, linear"):
        layout(network)
    with pytest.raises(InputError, match=r"unknown site 'paper'"):
        layout(network, ("paper",))
    assert layout(network, ("linear",)).sites == ("linear",)


def test_a_network_without_known_blocks_has_no_default():
    with pytest.raises(InputError, match=r"OwnNetwork has no default mask sites: name the modules .* stem, stage"):
        layout(OwnNetwork())


def test_an_unknown_site_lists_presets_and_modules():
    with pytest.raises(
        InputError, match=r"unknown site 'papr': expected one of paper, .*layer1.* Did you mean 'paper'"
    ):
        layout(skeleton("resnet18"), ("papr",))


def test_an_unknown_boundary_is_refused():
    with pytest.raises(InputError, match=r"unknown boundary 'layer5'.* Did you mean 'layer"):
        layout(skeleton("resnet18"), (), "layer5")


def test_the_head_is_the_last_linear_layer_whatever_the_names_before_it():
    network = OwnNetwork()
    assert find_head(network) == "out"
    network = nn.Sequential()
    network.add_module("fc", nn.Linear(2, 2))
    network.add_module("logits", nn.Linear(2, 2))
    assert find_head(network) == "logits"


def test_a_network_without_a_head_is_refused():
    with pytest.raises(InputError, match=r"no linear layer or 1x1 convolution"):
        find_head(NoHead())


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_auxiliary_heads_are_no_heads(name):
    with torch.device("meta"):
        network = models.get_model(name, weights=None, num_classes=7, init_weights=False)
    assert find_head(network) == "fc"


def test_the_last_block_is_an_outermost_one():
    assert find_last_block(skeleton("swin_t")) == "features.7.1"
    assert find_last_block(OwnNetwork()) is None
