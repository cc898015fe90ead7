import dataclasses
from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from domain_masks.methods.method_builder import build_method
from domain_masks.methods.settings import method_settings
from domain_masks.networks import build_backbone
from methods.contract import CLASSES, SOURCES, built, context, still, toy_batch


def rows_of(batch, domain):
    rows = batch.domains == domain
    return replace(
        batch, images=batch.images[rows], labels=batch.labels[rows], domains=batch.domains[rows], ids=batch.ids[rows]
    )


def heads(method):
    return method.network.network.classifier.head


@pytest.mark.parametrize("domain", range(3))
def test_instances_train_the_head_of_their_own_domain_alone(domain):
    method = built("multi_headed").train()
    sum(method.training_loss(rows_of(toy_batch(), domain)).values()).backward()
    for gradient in (heads(method).weight.grad, heads(method).bias.grad):
        for other in range(len(SOURCES)):
            assert bool(gradient[other].any()) is (other == domain)


def test_the_loss_is_the_mean_over_instances_of_their_own_heads():
    method = still(built("multi_headed"))
    batch = toy_batch(9)
    loss = method.training_loss(batch)["classification"]
    each = method.network.domain_logits(batch.images)
    losses = [
        functional.cross_entropy(each[domain, row], batch.labels[row]).item()
        for row, domain in enumerate(batch.domains.tolist())
    ]
    assert loss.item() == pytest.approx(sum(losses) / 9, rel=1e-5)


def test_predictions_are_the_mean_of_all_heads():
    method = built("multi_headed").eval()
    with torch.no_grad():
        ensembles = method.predict(toy_batch(6))
    expected = sum(ensembles[f"known:{source}"] for source in SOURCES) / len(SOURCES)
    torch.testing.assert_close(ensembles["predictions"], expected)


def test_probabilities_can_be_averaged():
    method = built("multi_headed", average="probabilities").eval()
    with torch.no_grad():
        ensembles = method.predict(toy_batch(6))
    expected = sum(ensembles[f"known:{source}"].softmax(1) for source in SOURCES) / len(SOURCES)
    torch.testing.assert_close(ensembles["predictions"].softmax(1), expected)


def test_the_epoch_is_chosen_by_the_average_or_by_each_images_own_head():
    batch = toy_batch(6)
    unknown = dataclasses.replace(batch, domains=None)
    with torch.no_grad():
        for how in ("logits", "probabilities"):
            method = built("multi_headed", average=how).eval()
            torch.testing.assert_close(method.validation_logits(batch), method.predict(batch)["predictions"])
        method = built("multi_headed", validation="known").eval()
        ensembles, own = method.predict(batch), method.validation_logits(batch)
        for row, domain in enumerate(batch.domains.tolist()):
            torch.testing.assert_close(own[row], ensembles[f"known:{SOURCES[domain]}"][row])
        assert not torch.allclose(own, ensembles["predictions"])
        torch.testing.assert_close(method.validation_logits(unknown), ensembles["predictions"])


def test_each_known_domain_is_its_own_head():
    method = built("multi_headed").eval()
    batch = toy_batch(6)
    with torch.no_grad():
        ensembles = method.predict(batch)
        bare = method.network.network
        hidden = bare.classifier[:-1](bare.flatten(bare.pool(bare.features(batch.images))))
        for index, source in enumerate(SOURCES):
            expected = functional.linear(hidden, heads(method).weight[index], heads(method).bias[index])
            torch.testing.assert_close(ensembles[f"known:{source}"], expected, rtol=1e-4, atol=1e-5)


def test_heads_differ_from_the_start():
    weight = heads(built("multi_headed")).weight
    assert weight.shape == (len(SOURCES), len(CLASSES), 128)
    assert not torch.equal(weight[0], weight[1])


def test_the_head_initialisation_reaches_all_heads():
    backbone = build_backbone("small", len(CLASSES), head_initialisation="normal")
    narrow = context(head_initialisation="normal")
    method = build_method("multi_headed", backbone, narrow, method_settings("multi_headed", {}))
    assert not heads(method).bias.any()
    assert heads(method).weight.detach().std().item() == pytest.approx(0.001, rel=0.1)


def test_heads_are_the_group_head():
    method = built("multi_headed")
    assert {id(parameter) for parameter in method.parameter_groups()["head"]} == {
        id(heads(method).weight),
        id(heads(method).bias),
    }


def test_dropout_stays_as_usual():
    assert built("multi_headed").train().network.network.classifier.dropout.training


def test_training_needs_domains():
    with pytest.raises(ValueError, match="expected the domain of every training instance"):
        built("multi_headed").train().training_loss(replace(toy_batch(), domains=None))
