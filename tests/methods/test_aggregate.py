from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from domain_masks.errors import InputError
from domain_masks.methods import Phase
from domain_masks.methods.method_builder import build_method
from domain_masks.methods.settings import method_settings
from domain_masks.networks import build_backbone
from domain_masks.records.config import RunConfig
from domain_masks.training.engine import TrainingEngine
from domain_masks.training.launching import launch
from methods.contract import built, context, toy_batch
from references.networks import OwnNetwork


def test_it_is_the_bare_network_on_pooled_data():
    method = built("aggregate").train()
    bare = method.network.network
    batch = toy_batch()
    torch.manual_seed(0)
    loss = method.training_loss(batch)["classification"]
    torch.manual_seed(0)
    assert loss.item() == functional.cross_entropy(bare(batch.images), batch.labels).item()
    method.eval()
    with torch.no_grad():
        assert torch.equal(method.predict(batch)["predictions"], bare(batch.images))


def test_domains_play_no_part():
    method = built("aggregate").train()
    method.network.network.eval()
    batch = toy_batch()
    blind = replace(batch, domains=None)
    assert method.training_loss(batch)["classification"] == method.training_loss(blind)["classification"]


def test_dropout_stays_as_usual():
    assert built("aggregate").train().network.network.classifier.dropout.training


def test_it_has_no_masks():
    method = built("aggregate")
    assert method.mask_logits() == {}
    assert set(method.parameter_groups()) == {"body", "head"}


@pytest.mark.parametrize(
    ("options", "boundary"),
    [
        ({}, "classifier.hidden"),
        ({"boundary": "features.block3"}, "features.block3"),
        ({"sites": ("classifier.head",)}, "classifier.head"),
    ],
)
def test_the_boundary_is_that_of_the_masked_methods(options, boundary):
    backbone = build_backbone("small", 4)
    method = build_method("aggregate", backbone, context(**options), method_settings("aggregate", {}))
    assert method.network.boundary == boundary
    assert method.network.sites == ()


def test_a_network_without_default_sites_is_divided_at_its_head():
    method = build_method("aggregate", OwnNetwork(4), context(), method_settings("aggregate", {}))
    assert method.network.boundary == "out"


def engine_of(method, epochs):
    config = RunConfig(optimizer="sgd", lr=0.1, momentum=0.0)
    return TrainingEngine(launch(config), method.train(), config, epochs=epochs, steps_per_epoch=1)


def changed(method, engine, epoch):
    """Names of the parameters that a step in ``epoch`` changes."""
    before = {name: parameter.detach().clone() for name, parameter in method.named_parameters()}
    engine.begin(epoch, 0, 24)
    method.step(toy_batch(step=epoch), engine)
    engine.finish_epoch()
    return {name for name, parameter in method.named_parameters() if not torch.equal(parameter, before[name])}


def test_the_last_layer_learns_alone_at_first_and_everything_then():
    method = built("aggregate", head_first=0.25)
    engine = engine_of(method, 4)
    assert [phase.name for phase in method.phases()] == ["head", "network"]
    head = {"network.network.classifier.head.weight", "network.network.classifier.head.bias"}
    assert changed(method, engine, 0) == head
    assert changed(method, engine, 1) == {name for name, _ in method.named_parameters()}


def test_the_step_of_the_last_layer_is_that_of_a_network_that_is_frozen_below_it():
    alone, frozen = built("aggregate", head_first=0.5), built("aggregate")
    for name, parameter in frozen.named_parameters():
        parameter.requires_grad_("classifier.head" in name)
    for method in (alone, frozen):
        engine = engine_of(method, 2)
        engine.begin(0, 0, 24)
        batch = toy_batch()
        with batch.random.seeded("layers"):
            method.step(batch, engine)
    state = frozen.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in alone.state_dict().items())


def test_no_epoch_of_the_last_layer_alone_is_chosen():
    assert built("aggregate").phases() == (Phase(),)
    first, second = built("aggregate", head_first=0.1).phases()
    assert (first.selects, second.selects) == (False, True)
    assert second.fresh_optimizers
    assert first.share + second.share == pytest.approx(1)


@pytest.mark.parametrize(("setting", "value"), [("head_first", 1.0), ("head_first", -0.1), ("batch_norm", "frozen")])
def test_settings_out_of_range_are_named(setting, value):
    with pytest.raises(InputError, match=rf"method\.{setting}: "):
        method_settings("aggregate", {setting: value})
