"""The network with other weights than its own."""

import copy

import pytest
import torch
from torch.nn import functional

from domain_masks.errors import InputError
from domain_masks.networks import MaskedNetwork, MultiHeadNetwork, Network, build_backbone
from references.networks import OwnNetwork

COUNT, SIZE = 6, 16


def networks():
    torch.manual_seed(0)
    return {
        "plain": Network(OwnNetwork(), "stage", image_size=SIZE),
        "masked": MaskedNetwork(OwnNetwork(), 3, ["neck", "out"], "stage", image_size=SIZE, dropout_in_task=True),
        "heads": MultiHeadNetwork(OwnNetwork(), 3, "out", "stage", image_size=SIZE),
    }


def batch():
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(COUNT, 3, SIZE, SIZE, generator=generator)
    return images, torch.arange(COUNT) % 5, torch.arange(COUNT) % 3


def moved(net, by=0.05):
    """Weights near to the network's own, as a step of an inner loop gives them."""
    generator = torch.Generator().manual_seed(2)
    return {
        name: value.detach() + by * torch.randn(value.shape, generator=generator)
        for name, value in net.named_parameters()
    }


def with_weights(net, weights):
    twin = copy.deepcopy(net)
    twin.load_state_dict(weights, strict=False)
    return twin


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", ["plain", "masked", "heads"])
def test_it_answers_as_a_network_that_has_these_weights(name, training):
    net = networks()[name].train(training)
    images, _, domains = batch()
    weights = moved(net)
    twin, before = with_weights(net, weights), copy.deepcopy(net.state_dict())
    for part, inputs in (("features", images), ("network", images), ("task", net.features(images).detach())):
        torch.manual_seed(3)
        got = net.call(part, weights, inputs, domains)
        torch.manual_seed(3)
        expected = twin.features(images) if part == "features" else None
        expected = twin.task(inputs, domains) if part == "task" else expected
        expected = twin(images, domains) if part == "network" else expected
        assert torch.equal(got, expected), part
    net.load_state_dict(before)
    assert all(value.equal(net.state_dict()[key]) for key, value in before.items())


def test_what_is_not_named_stays_the_networks_own():
    net = networks()["plain"].eval()
    images, *_ = batch()
    weights = {"network.out.bias": torch.arange(5.0)}
    expected = net(images) - net.network.out.bias + torch.arange(5.0)
    torch.testing.assert_close(net.call("network", weights, images), expected)
    assert torch.equal(net.call("network", {}, images), net(images))


@pytest.mark.parametrize("name", ["plain", "masked", "heads"])
def test_statistics_move_only_where_it_is_asked_for(name):
    net = networks()[name].train()
    images, _, domains = batch()
    before = {key: value.clone() for key, value in net.named_buffers()}
    net.call("network", moved(net), images, domains)
    net.call("features", moved(net), images)
    assert all(torch.equal(value, before[key]) for key, value in net.named_buffers())
    twin = with_weights(net, moved(net))
    twin(images, domains)
    net.call("network", moved(net), images, domains, update_statistics=True)
    changed = dict(net.named_buffers())
    assert not changed["network.stem.1.running_mean"].equal(before["network.stem.1.running_mean"])
    assert all(torch.equal(value, changed[key]) for key, value in twin.named_buffers())


def test_given_statistics_are_used_in_evaluation():
    net = networks()["plain"].eval()
    images, *_ = batch()
    given = {"network.stem.1.running_mean": torch.full((6,), 0.7)}
    assert torch.equal(net.call("network", given, images), with_weights(net, given)(images))


@pytest.mark.parametrize("name", ["plain", "masked", "heads"])
def test_a_step_of_an_inner_loop_can_be_differentiated(name):
    """The gradient through one inner step is that of finite differences, through F, T and the masks alike."""
    net = networks()[name].double().train()
    for module in net.modules():
        if isinstance(module, torch.nn.Dropout | torch.nn.ReLU):
            module.p, module.inplace = 0.0, False
    images, labels, domains = batch()
    images = images.double()
    generator = torch.Generator().manual_seed(4)
    sites = net.sites if name == "masked" else ()
    options = (
        {"noise": {site.name: torch.rand(COUNT, site.size, generator=generator) for site in sites}} if sites else {}
    )
    own = dict(net.named_parameters())
    # Hard masks jump, so that what their logits get is the straight-through rule and no difference quotient.
    inside = {key: value for key, value in own.items() if not key.startswith("masks.")}

    def outer():
        inner = functional.cross_entropy(net.call("network", own, images, domains, **options), labels)
        gradients = torch.autograd.grad(inner, list(inside.values()), create_graph=True)
        ahead = {key: value - 0.1 * step for (key, value), step in zip(inside.items(), gradients, strict=True)}
        return functional.cross_entropy(net.call("network", ahead, images.flip(3), domains, **options), labels)

    outer().backward()
    for key, value in inside.items():
        place = 0
        flat, step = value.data.view(-1), 1e-6
        flat[place] += step
        above = outer().item()
        flat[place] -= 2 * step
        below = outer().item()
        flat[place] += step
        assert value.grad.view(-1)[place].item() == pytest.approx((above - below) / (2 * step), rel=1e-4, abs=1e-7), key
    assert all(value.grad is not None and value.grad.any() for value in own.values())


def test_a_frozen_network_is_called_as_it_runs():
    net = networks()["masked"]
    net.freeze()
    net.train()
    images, _, domains = batch()
    weights = {name: value for name, value in moved(net).items() if name.startswith("masks.")}
    torch.manual_seed(3)
    got = net.call("network", weights, images, domains)
    torch.manual_seed(3)
    assert torch.equal(got, with_weights(net, weights)(images, domains))


def test_tied_weights_stay_tied():
    backbone = OwnNetwork()
    backbone.twin = backbone.out
    net = Network(backbone, "stage", image_size=SIZE).eval()
    images, *_ = batch()
    got = net.call("network", {"network.twin.weight": torch.zeros(5, 10)}, images)
    assert torch.equal(got, net.network.out.bias.expand(COUNT, 5))


def test_compiled_parts_are_differentiated_twice(monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda function, **_: lambda *inputs: function(*inputs).detach() * 0)
    net = Network(build_backbone("small", 5), "classifier", image_size=SIZE).eval()
    images, *_ = batch()
    expected = net(images)
    net.compile_segments()
    assert not net(images).any()
    assert torch.equal(net.call("network", {}, images), expected)
    assert torch.equal(copy.deepcopy(net)(images), expected)


@pytest.mark.parametrize(
    ("part", "weights", "message"),
    [
        ("head", {}, r"unknown part of the network 'head': expected one of features, task, network"),
        (
            "network",
            {"out.weight": torch.zeros(5, 10)},
            r"unknown tensor of the network 'out\.weight': expected one of .*network\.out\.weight",
        ),
        (
            "network",
            {"network.out.weight": torch.zeros(4, 10)},
            r"shape \(5, 10\) for network\.out\.weight, got \(4, 10\)",
        ),
        ("network", {"network.out.weight": 0.0}, r"shape \(5, 10\) for network\.out\.weight, got float"),
    ],
)
def test_what_cannot_be_meant_is_one_message(part, weights, message):
    images, *_ = batch()
    with pytest.raises(InputError, match=message):
        networks()["plain"].call(part, weights, images)
