"""CORAL, MMD and Fishr."""

import pytest
import torch

from domain_masks.errors import InputError
from domain_masks.methods import Context
from domain_masks.methods.algorithms.coral import coral_distance
from domain_masks.methods.algorithms.fishr import gradient_variances
from domain_masks.methods.algorithms.mmd import gaussian_kernels, squared_discrepancy
from domain_masks.methods.method_builder import build_method
from domain_masks.methods.settings import method_settings
from domain_masks.networks import build_backbone
from methods.contract import CLASSES, SIZE, SOURCES, EngineDouble, built, still, toy_batch
from references import penalties

COUNT = len(SOURCES)
GAMMAS = (0.001, 0.01, 0.1, 1.0, 10.0, 100.0, 1000.0)


@pytest.fixture(params=[(4, 4, 4), (2, 5, 7)], ids=str)
def drawn(request):
    """Features, labels, domains and rows of sources of unequal sizes, mixed."""
    generator = torch.Generator().manual_seed(0)
    domains = torch.repeat_interleave(torch.arange(COUNT), torch.tensor(request.param))
    domains = domains[torch.randperm(len(domains), generator=generator)]
    features = torch.randn(len(domains), 5, generator=generator, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(4, (len(domains),), generator=generator)
    return features, labels, domains, domains == torch.arange(COUNT)[:, None]


def assert_equal_with_gradients(got, expected, *inputs):
    torch.testing.assert_close(got, expected)
    for own, other in zip(torch.autograd.grad(got, inputs), torch.autograd.grad(expected, inputs), strict=True):
        torch.testing.assert_close(own, other)
        assert own.any()


@pytest.mark.parametrize("matched", ["mean-covariance", "covariance"])
def test_coral_compares_moments_of_all_pairs(drawn, matched):
    features, _, domains, rows = drawn
    got = coral_distance(features, rows, with_mean=matched == "mean-covariance")
    assert_equal_with_gradients(got, penalties.coral(features, domains, COUNT, matched), features)


def test_mmd_compares_mean_kernels_of_all_pairs(drawn):
    features, _, domains, rows = drawn
    got = squared_discrepancy(gaussian_kernels(features, GAMMAS), rows)
    assert_equal_with_gradients(got, penalties.mmd(features, domains, COUNT, GAMMAS), features)


def test_equal_sources_are_no_distance_apart():
    features = torch.randn(4, 5).repeat(3, 1)
    rows = torch.arange(3)[:, None] == torch.arange(12) // 4
    assert coral_distance(features, rows).item() == pytest.approx(0.0, abs=1e-12)
    assert squared_discrepancy(gaussian_kernels(features, (0.1, 1.0)), rows).item() == pytest.approx(0.0, abs=1e-5)


def test_fishrs_variances_are_those_of_the_instances_gradients(drawn):
    inputs, labels, domains, rows = drawn
    weight = torch.randn(4, 5, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(4, dtype=torch.float64, requires_grad=True)
    logits = inputs @ weight.T + bias
    losses = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    (errors,) = torch.autograd.grad(losses.sum(), logits, create_graph=True)
    got = gradient_variances(errors, torch.cat([inputs, inputs.new_ones(len(inputs), 1)], 1), rows).flatten(1)
    expected = penalties.gradient_variances(inputs, weight, bias, labels, domains, COUNT)
    torch.testing.assert_close(got, expected)
    assert_equal_with_gradients(penalties.fishr(got), penalties.fishr(expected), inputs, weight, bias)


@pytest.mark.parametrize(("name", "setting"), [("coral", {"matched": "covariance"}), ("coral", {}), ("mmd", {})])
def test_the_terms_of_a_whole_network(name, setting):
    method, batch = still(built(name, penalty_weight=7.0, **setting)), toy_batch()
    features = method.network.represent(method.network.features(batch.images))
    if name == "mmd":
        expected = penalties.mmd(features.double(), batch.domains, COUNT, GAMMAS).float()
    else:
        expected = penalties.coral(features, batch.domains, COUNT, setting.get("matched", "mean-covariance"))
    terms = method.training_loss(batch)
    torch.testing.assert_close(terms["penalty"], 7.0 * expected, rtol=1e-3, atol=1e-5)
    parameters = dict(method.named_parameters())
    gradients = torch.autograd.grad(terms["penalty"], list(parameters.values()), allow_unused=True)
    reached = {key for key, value in zip(parameters, gradients, strict=True) if value is not None and value.any()}
    assert reached == {key for key in parameters if ".classifier.head." not in key}


def test_fishrs_penalty_is_of_moving_averages():
    method, parts = still(built("fishr", penalty_weight=7.0, moving_average=0.8, warm_up=0.0)), []
    method.begin_phase("penalised")
    for step in range(3):
        batch = toy_batch(seed=step, step=step)
        inputs = method.network.represent(method.network.features(batch.images))
        head = method.network.network.classifier.head
        new = penalties.gradient_variances(inputs, head.weight, head.bias, batch.labels, batch.domains, COUNT)
        averaged = sum((0.2 * 0.8 ** (step - i) * old for i, old in enumerate(parts)), 0.2 * new)
        term = method.training_loss(batch)["penalty"]
        torch.testing.assert_close(term, 7.0 * penalties.fishr(averaged / 0.2), rtol=1e-3, atol=1e-6)
        term.backward()
        assert [key for key, value in method.named_parameters() if value.grad is None or not value.grad.any()] == []
        # They move with a step, not with a look at the loss.
        method.step(batch, EngineDouble(method, lr=0.0))
        parts.append(new.detach())
        stored = sum(0.2 * 0.8 ** (step - i) * old for i, old in enumerate(parts))
        torch.testing.assert_close(method.variances.flatten(1), stored, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("name", ["coral", "mmd"])
def test_frozen_features_need_layers_before_the_last_one(name):
    boundary = Context(SOURCES, CLASSES, image_size=SIZE, boundary="classifier.head")
    method = build_method(name, build_backbone("small", len(CLASSES)), boundary, method_settings(name, {}))
    method.network.freeze_features()
    with pytest.raises(InputError, match="trains the layers before the last one, which are all frozen"):
        method.parameter_groups()


@pytest.mark.parametrize("name", ["fishr", "csd"])
def test_a_last_layer_that_is_no_linear_one_is_refused(name):
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3),
        torch.nn.Conv2d(8, len(CLASSES), 1),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
    )
    with pytest.raises(InputError, match="needs a network that ends with a linear layer, got Conv2d '1'"):
        build_method(name, network, Context(SOURCES, CLASSES, image_size=SIZE), method_settings(name, {}))


@pytest.mark.parametrize("name", ["coral", "mmd"])
def test_a_convolution_as_the_last_layer_is_seen_by_its_channels(name):
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3),
        torch.nn.Conv2d(8, len(CLASSES), 1),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
    )
    method = build_method(name, network, Context(SOURCES, CLASSES, image_size=SIZE), method_settings(name, {})).train()
    batch = toy_batch()
    features = network[0](batch.images).mean((2, 3))
    terms = method.training_loss(batch)
    if name == "coral":
        expected = penalties.coral(features, batch.domains, COUNT, "mean-covariance")
    else:
        expected = penalties.mmd(features.double(), batch.domains, COUNT, GAMMAS).float()
    torch.testing.assert_close(terms["penalty"], expected, rtol=1e-3, atol=1e-5)


def test_near_features_far_from_zero_have_kernels_of_their_distance_not_of_the_rounding():
    features = 30 + 0.003 * torch.randn(8, 16, generator=torch.Generator().manual_seed(0))
    distances = (features[:, None].double() - features.double()).square().sum(2)
    torch.testing.assert_close(gaussian_kernels(features, (1000.0,)), (-1000.0 * distances).exp())
