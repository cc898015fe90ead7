"""The setting ``batch_norm`` of the methods that have it."""

import copy
import pickle

import pytest
import torch
from torch import nn

from domain_masks.methods import METHODS
from domain_masks.methods.settings import method_defaults
from methods.contract import built, toy_batch

NAMES = [name for name in METHODS if "batch_norm" in method_defaults(name)]


def layers(method):
    found = [module for module in method.network.network.modules() if isinstance(module, nn.BatchNorm2d)]
    assert found
    return found


def modes(method):
    return {layer.training for layer in layers(method)}


def statistics(method):
    state = method.network.network.state_dict()
    return {name: state[name].clone() for name in state if "running_" in name or "num_batches" in name}


def test_the_papers_own_methods_have_it():
    assert {"dmg", "aggregate", "multi_headed"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_learned_statistics_are_those_of_the_batches(name):
    method = built(name, batch_norm="learned").train()
    assert modes(method) == {True}
    before = statistics(method)
    sum(method.training_loss(toy_batch()).values()) if name != "epi_fcr" else method.network.network(toy_batch().images)
    assert all(not torch.equal(value, before[name]) for name, value in statistics(method).items())


@pytest.mark.parametrize("name", NAMES)
def test_fixed_statistics_stay_and_normalise_in_training(name):
    method = built(name, batch_norm="fixed").train()
    assert method.network.network.training
    assert modes(method) == {False}
    before, batch = statistics(method), toy_batch()
    loss = (
        sum(method.training_loss(batch).values()) if name != "epi_fcr" else method.network.network(batch.images).sum()
    )
    loss.backward()
    assert all(torch.equal(value, before[name]) for name, value in statistics(method).items())
    assert all(parameter.grad is not None for layer in layers(method) for parameter in layer.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_fixed_statistics_stay_when_the_network_alone_changes_its_mode_or_is_copied(name):
    method = built(name, batch_norm="fixed")
    method.eval().network.train()
    assert modes(method) == {False}
    for other in (copy.deepcopy(method), pickle.loads(pickle.dumps(method))):
        assert modes(other.eval().train()) == {False}


def test_an_image_of_dmg_is_computed_without_the_others_of_its_batch():
    method, batch = built("dmg", batch_norm="fixed").train(), toy_batch(6)
    features = method.boundary_features(batch)
    alone = torch.cat([method.network.features(batch.images[[row]]) for row in range(6)])
    assert torch.allclose(features, alone, atol=1e-6)
