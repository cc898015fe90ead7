from dataclasses import replace

import pytest
import torch

from domain_masks.errors import InputError
from domain_masks.methods import Context
from domain_masks.methods.adversary import growing_strength, reverse_gradient
from domain_masks.methods.method_builder import build_method
from domain_masks.methods.settings import method_settings
from domain_masks.networks import build_backbone
from methods.contract import CLASSES, SIZE, SOURCES, EngineDouble, built, still, toy_batch
from references import adversarial


def gradients(method, loss):
    """Return those of all parameters, 0 where the loss does not depend on one."""
    names, parameters = zip(*method.named_parameters(), strict=True)
    found = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    return {
        name: torch.zeros_like(parameter) if value is None else value
        for name, parameter, value in zip(names, parameters, found, strict=True)
    }


def is_of_domain_net(name):
    return name.startswith("domain_net.")


def test_a_reversed_gradient_is_the_negative_one():
    inputs = torch.randn(4, 3, requires_grad=True)
    behind = reverse_gradient(inputs, 0.3)
    assert behind.equal(inputs)
    (gradient,) = torch.autograd.grad((behind**3).sum(), inputs)
    torch.testing.assert_close(gradient, -0.3 * 3 * inputs.detach() ** 2)


@pytest.mark.parametrize("progress", [0.0, 0.01, 0.1, 0.5, 1.0])
def test_lambda_grows_as_in_the_paper(progress):
    assert growing_strength(progress, 10.0) == pytest.approx(adversarial.growing_strength(progress))
    assert growing_strength(0.0, 10.0) == 0.0
    assert growing_strength(1.0, 10.0) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("strength", [0.0, 0.7])
def test_the_network_works_against_the_domain_net_and_nothing_else_does(strength):
    method = still(built("dann", weight=strength, schedule="constant"))
    batch = toy_batch()
    together = gradients(method, sum(method.training_loss(batch).values()))
    # The same two losses without a reversal.
    representation = method.network.represent(method.network.features(batch.images))
    classes = gradients(method, adversarial.cross_entropy(method.network.classify(representation), batch.labels))
    domains = gradients(method, adversarial.cross_entropy(method.domain_net(representation), batch.domains))
    for name, got in together.items():
        expected = domains[name] if is_of_domain_net(name) else classes[name] - strength * domains[name]
        torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-6)
    reached = {name for name, value in domains.items() if value.any()}
    head = {name for name in together if ".head." in name}
    assert reached == set(together) - head


def test_lambda_follows_the_training_and_the_schedule():
    engine = EngineDouble(built("dann"), steps=20)
    grown = built("dann", weight=0.5).train()
    for step in (0, 5, 10):
        engine.global_step = step
        grown.step(toy_batch(), engine)
        assert grown.strength == pytest.approx(0.5 * adversarial.growing_strength(step / 20))
    assert engine.logged["adversary_weight"] == pytest.approx(
        [0.5 * adversarial.growing_strength(progress) for progress in (0, 0.25, 0.5)]
    )
    constant = built("dann", weight=0.5, schedule="constant").train()
    constant.step(toy_batch(), engine)
    assert constant.strength == 0.5


def test_the_domain_net_has_its_own_optimiser_and_rate():
    method = built("dann", domain_lr=0.25)
    optimizers = method.optimizers()
    assert optimizers["domain_net"].lr == 0.25
    assert optimizers["domain_net"].groups == ("domain_net",)
    engine = EngineDouble(method)
    before = [value.clone() for value in method.network.parameters()]
    method.train().step(toy_batch(), engine)
    assert any(not a.equal(b) for a, b in zip(before, method.network.parameters(), strict=True))
    assert engine.optimizers["domain_net"].param_groups[0]["lr"] == 0.25


def test_frozen_features_up_to_the_last_layer_leave_nothing_to_learn():
    context = Context(SOURCES, CLASSES, image_size=SIZE, boundary="classifier.head")
    for name in ("dann", "dsn"):
        method = build_method(name, build_backbone("small", len(CLASSES)), context, method_settings(name, {}))
        assert set(method.parameter_groups()) > {"body", "head"}
        method.network.freeze_features()
        with pytest.raises(
            InputError, match=rf"method '{name}' trains the layers before the last one.*'classifier.head'"
        ):
            method.parameter_groups()


def test_domains_are_needed():
    with pytest.raises(ValueError, match="domain of every training instance"):
        built("dann").train().training_loss(replace(toy_batch(), domains=None))
