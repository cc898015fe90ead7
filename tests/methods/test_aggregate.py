from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from domain_masks.methods.build import build_method
from domain_masks.methods.settings import method_settings
from domain_masks.networks import build_backbone
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
