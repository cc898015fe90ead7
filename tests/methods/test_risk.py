"""IRM, V-REx and GroupDRO."""

from dataclasses import replace

import pytest
import torch

from domain_masks.errors import InputError
from domain_masks.methods.algorithms.groupdro import moved_weights
from domain_masks.methods.algorithms.irm import irm_penalty, scale_gradients
from domain_masks.methods.algorithms.vrex import risk_variance
from methods.contract import SOURCES, EngineDouble, built, still, toy_batch
from references import penalties

COUNT = len(SOURCES)


def logits_of(method, batch):
    return method.network.task(method.network.features(batch.images))


def penalised(name, **settings):
    method = still(built(name, **settings))
    method.begin_phase("penalised")
    return method


@pytest.mark.parametrize("estimate", ["unbiased", "squared"])
@pytest.mark.parametrize("counts", [(4, 4, 4), (2, 5, 7)])
def test_irm_penalises_the_gradient_by_a_scale_of_the_logits(estimate, counts):
    generator = torch.Generator().manual_seed(0)
    domains = torch.repeat_interleave(torch.arange(COUNT), torch.tensor(counts))
    domains = domains[torch.randperm(len(domains), generator=generator)]
    logits = torch.randn(len(domains), 4, generator=generator, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(4, (len(domains),), generator=generator)
    losses = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    rows = domains == torch.arange(COUNT)[:, None]
    got = irm_penalty(scale_gradients(losses, logits), rows, unbiased=estimate == "unbiased")
    expected = penalties.irm(logits, labels, domains, COUNT, estimate)
    torch.testing.assert_close(got, expected)
    gradients = [torch.autograd.grad(value, logits, retain_graph=True)[0] for value in (got, expected)]
    torch.testing.assert_close(*gradients)
    assert gradients[0].any()


def test_irm_is_zero_where_the_scale_is_the_best_one():
    logits = torch.zeros(8, 2, requires_grad=True)
    losses = torch.nn.functional.cross_entropy(logits, torch.arange(8) % 2, reduction="none")
    rows = (torch.arange(8) // 4) == torch.arange(2)[:, None]
    assert irm_penalty(scale_gradients(losses, logits), rows).item() == 0.0


@pytest.mark.parametrize("estimate", ["unbiased", "squared"])
def test_irms_terms(estimate):
    method, batch = penalised("irm", estimate=estimate, penalty_weight=7.0), toy_batch()
    terms, logits = method.training_loss(batch), logits_of(method, batch)
    risks = penalties.risks(logits, batch.labels, batch.domains, COUNT)
    torch.testing.assert_close(terms["classification"], sum(risks) / COUNT)
    expected = 7.0 * penalties.irm(logits, batch.labels, batch.domains, COUNT, estimate)
    torch.testing.assert_close(terms["penalty"], expected)


def test_vrexs_terms():
    method, batch = penalised("vrex", penalty_weight=7.0), toy_batch()
    terms, logits = method.training_loss(batch), logits_of(method, batch)
    risks = penalties.risks(logits, batch.labels, batch.domains, COUNT)
    torch.testing.assert_close(terms["classification"], sum(risks) / COUNT)
    torch.testing.assert_close(terms["penalty"], 7.0 * penalties.variance(risks))


def test_equal_risks_have_no_variance():
    assert risk_variance(torch.tensor([0.5, 0.5, 0.5])) == 0


@pytest.mark.parametrize("name", ["irm", "vrex"])
def test_the_penalty_reaches_every_parameter(name):
    method = penalised(name)
    method.training_loss(toy_batch())["penalty"].backward()
    assert [key for key, value in method.named_parameters() if value.grad is None or not value.grad.any()] == []


@pytest.mark.parametrize(("name", "before"), [("irm", 1.0), ("vrex", 1.0), ("fishr", 0.0)])
def test_the_penalty_gets_its_weight_after_the_warm_up(name, before):
    method, batch = still(built(name, penalty_weight=50.0, warm_up=0.25)), toy_batch()
    first, second = method.phases()
    assert (first.share, first.selects, second.share, second.fresh_optimizers) == (0.25, False, 0.75, True)
    method.begin_phase(first.name)
    weak = method.training_loss(batch)["penalty"]
    method.begin_phase(second.name)
    strong = method.training_loss(batch)["penalty"]
    torch.testing.assert_close(weak * 50.0, strong * before)
    assert strong != 0
    # A run that goes on within the phase takes its place from the checkpoint.
    again = still(built(name, penalty_weight=50.0, warm_up=0.25, seed=1))
    again.load_state_dict(method.state_dict())
    assert torch.equal(again.training_loss(batch)["penalty"], strong)


@pytest.mark.parametrize("name", ["irm", "vrex", "fishr"])
def test_without_a_warm_up_there_is_one_phase(name):
    (phase,) = built(name, warm_up=0.0).phases()
    assert phase.selects
    assert phase.share == 1.0


@pytest.mark.parametrize(("weight", "divisor"), [(50.0, 50.0), (0.5, 1.0)])
def test_the_loss_can_be_divided_by_the_weight(weight, divisor):
    settings = {"penalty_weight": weight, "estimate": "squared"}
    batch = toy_batch()
    plain = penalised("irm", **settings).training_loss(batch)
    rescaled = penalised("irm", **settings, after_the_jump="rescaled").training_loss(batch)
    for name, term in plain.items():
        torch.testing.assert_close(rescaled[name], term / divisor)


def test_groupdro_weights_risks_by_weights_that_follow_them():
    method = still(built("groupdro", step_size=0.7))
    engine, weights = EngineDouble(method, lr=0.1), [1 / COUNT] * COUNT
    for step in range(3):
        batch = toy_batch(seed=step, step=step)
        risks = penalties.risks(logits_of(method, batch), batch.labels, batch.domains, COUNT)
        weights = penalties.group_weights(weights, risks, 0.7)
        expected = sum(weight * risk.item() for weight, risk in zip(weights, risks, strict=True))
        terms = method.step(batch, engine)
        assert float(terms["classification"]) == pytest.approx(expected, rel=1e-5)
        torch.testing.assert_close(method.log_weights.exp(), torch.tensor(weights))
    assert engine.logged["weight/art"][-1] == pytest.approx(weights[0], rel=1e-5)
    assert max(weights) - min(weights) > 1e-4


def test_the_gradient_of_groupdro_is_that_of_the_weighted_risks():
    method, batch = still(built("groupdro", step_size=0.7)), toy_batch()
    risks = penalties.risks(logits_of(method, batch), batch.labels, batch.domains, COUNT)
    weights = penalties.group_weights([1 / COUNT] * COUNT, risks, 0.7)
    parameters = list(method.parameters())
    expected = torch.autograd.grad(sum(w * risk for w, risk in zip(weights, risks, strict=True)), parameters)
    got = torch.autograd.grad(method.training_loss(batch)["classification"], parameters)
    for own, other in zip(got, expected, strict=True):
        torch.testing.assert_close(own, other, rtol=1e-4, atol=1e-6)


def test_a_weight_that_was_as_good_as_zero_can_grow_again():
    log_weights = torch.tensor([0.0, -400.0])
    for _ in range(300):
        log_weights = moved_weights(log_weights, torch.tensor([0.0, 2.0]), 1.0)
    assert log_weights.exp()[1] > 0.99


@pytest.mark.parametrize("name", ["irm", "vrex", "groupdro", "coral", "mmd", "fishr"])
def test_a_batch_without_a_source_is_refused(name):
    batch = toy_batch()
    with pytest.raises(InputError, match="of each source domain, got 16 of 'art', 8 of 'cartoon', 0 of 'photo'"):
        still(built(name)).training_loss(replace(batch, domains=batch.domains % 2))
