import copy
import pickle

import pytest
import torch
from torch import nn
from torchvision import models

from domain_masks.networks import RepresentedNetwork, build_backbone

BUILDERS = {
    "small": (lambda: build_backbone("small", 4), "features.block3", 128, 16),
    "small at its head": (lambda: build_backbone("small", 4), "classifier.head", 128, 16),
    "mobilenet_v2": (lambda: models.mobilenet_v2(num_classes=4), "features.17", 1280, 64),
    "resnet18": (lambda: models.resnet18(num_classes=4), "layer4", 512, 64),
    "squeezenet": (lambda: models.squeezenet1_1(num_classes=4), "features.12", 512, 64),
    "vit": (
        lambda: models.VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=4),
        "encoder.layers.encoder_layer_1",
        16,
        32,
    ),
}


@pytest.mark.parametrize("name", BUILDERS)
def test_the_last_layer_of_the_representation_is_the_network(name):
    build, boundary, width, size = BUILDERS[name]
    torch.manual_seed(0)
    bare = build()
    network = RepresentedNetwork(bare, boundary, image_size=size)
    images = torch.randn(3, 3, size, size)
    network.eval()
    with torch.no_grad():
        features = network.features(images)
        representation = network.represent(features)
        torch.testing.assert_close(network.classify(representation), bare(images), rtol=1e-4, atol=1e-5)
        assert network.width == width
        assert network.channels(representation).shape == (3, width)
        if representation.dim() == 2:
            last = bare.get_submodule(network.head)(representation)
            torch.testing.assert_close(last, bare(images), rtol=1e-4, atol=1e-5)
    assert network.sites == ()


def test_dropout_before_the_last_layer_belongs_to_the_representation():
    network = RepresentedNetwork(build_backbone("small", 4), "features.block3", image_size=16).train()
    features = torch.rand(2, 32, 4, 4)
    with torch.no_grad():
        first, second = network.represent(features), network.represent(features)
        assert not first.equal(second)
        assert network.classify(first).equal(network.classify(first))
        network.freeze()
        assert network.represent(features).equal(network.represent(features))


def test_copies_and_pickles_represent_alike():
    network = RepresentedNetwork(build_backbone("small", 4), "features.block3", image_size=16).eval()
    features = torch.rand(2, 32, 4, 4)
    with torch.no_grad():
        expected = network.represent(features)
        for other in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
            assert other.represent(features).equal(expected)
            assert other.width == network.width


def test_a_network_of_ones_own_works():
    class Plain(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Flatten(), nn.Linear(48, 8), nn.ReLU())
            self.out = nn.Linear(8, 2)

        def forward(self, images):
            return self.out(self.body(images))

    network = RepresentedNetwork(Plain(), "body.1", image_size=4)
    assert network.represent(torch.randn(5, 48)).shape == (5, 8)
