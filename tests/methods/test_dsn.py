from dataclasses import replace

import pytest
import torch

from domain_masks.methods.algorithms.dsn import difference_loss, scale_invariant_error
from methods.contract import EngineDouble, built, still, toy_batch
from references import adversarial

SEPARATING = ("reconstruction", "difference", "similarity")


@pytest.mark.parametrize("rows", [1, 2, 3, 12])
def test_the_difference_is_that_of_the_paper(rows):
    torch.manual_seed(rows)
    shared, private = torch.randn(rows, 5, dtype=torch.float64), torch.randn(rows, 4, dtype=torch.float64)
    entries = adversarial.difference(shared.tolist(), private.tolist())
    assert difference_loss(shared, private, "sum").item() == pytest.approx(sum(entries))
    assert difference_loss(shared, private).item() == pytest.approx(sum(entries) / 20)


def test_the_difference_is_0_for_uncorrelated_encodings_and_finite_for_equal_ones():
    signs = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]], dtype=torch.float64)
    assert difference_loss(signs[:, :1], signs[:, 1:]).item() == pytest.approx(0, abs=1e-12)
    assert difference_loss(signs, signs, "sum").item() > 1
    same = torch.ones(3, 4, requires_grad=True)
    difference_loss(same, same).backward()
    assert same.grad.isfinite().all()


def test_reconstruction_takes_no_notice_of_what_all_entries_share():
    true, found = torch.randn(6, 9, dtype=torch.float64), torch.randn(6, 9, dtype=torch.float64)
    expected = [adversarial.scale_invariant_error(a, b) for a, b in zip(true.tolist(), found.tolist(), strict=True)]
    torch.testing.assert_close(scale_invariant_error(true, found), torch.tensor(expected, dtype=torch.float64))
    assert scale_invariant_error(true, true + 3).abs().max() < 1e-12
    assert (scale_invariant_error(true, found) > 0).all()


def test_the_terms_are_those_of_every_domain_with_its_own_encoder():
    method = still(built("dsn"))
    batch = toy_batch()
    terms = method.training_loss(batch)
    with torch.no_grad():
        features = method.network.features(batch.images)
        data, shared = method.network.pooled(features), method.network.represent(features)
        private = torch.stack(
            [method.private[domain](row) for domain, row in zip(batch.domains.tolist(), data, strict=True)]
        )
        again = method.decoder(shared + private)
        differences = []
        for domain in range(3):
            mine = batch.domains == domain
            entries = adversarial.difference(shared[mine].tolist(), private[mine].tolist())
            differences.append(sum(entries) / len(entries))
        similarity = adversarial.cross_entropy(method.domain_net(shared), batch.domains)
    errors = [adversarial.scale_invariant_error(a, b) for a, b in zip(data.tolist(), again.tolist(), strict=True)]
    assert terms["reconstruction"].item() == pytest.approx(0.01 * sum(errors) / len(errors), rel=1e-4)
    assert terms["difference"].item() == pytest.approx(0.075 * sum(differences) / 3, rel=1e-4)
    assert terms["similarity"].item() == pytest.approx(0.25 * similarity.item(), rel=1e-4)


def test_each_term_reaches_what_it_is_meant_for_and_nothing_else():
    method, batch = still(built("dsn")).double(), toy_batch()
    terms = method.training_loss(replace(batch, images=batch.images.double()))
    names = [name for name, _ in method.named_parameters()]
    encoder = {name for name in names if name.startswith("network.") and ".head." not in name}
    meant = {
        "classification": {name for name in names if name.startswith("network.")},
        "reconstruction": encoder | {name for name in names if name.startswith(("private.", "decoder."))},
        "difference": encoder | {name for name in names if name.startswith("private.")},
        "similarity": encoder | {name for name in names if name.startswith("domain_net.")},
    }
    assert set(meant) == set(terms)
    for term, expected in meant.items():
        method.zero_grad()
        terms[term].backward(retain_graph=True)
        reached = {
            name
            for name, value in method.named_parameters()
            if value.grad is not None and value.grad.abs().max() > 1e-12
        }
        # A constant offset of all private encodings of a domain is no difference: centring takes it away.
        assert reached == expected - {f"private.{index}.2.bias" for index in range(3) if term == "difference"}, term


def test_the_shared_encoder_works_against_the_domain_net():
    method = still(built("dsn"))
    batch = toy_batch()
    terms = method.training_loss(batch)
    weight = method.network.network.classifier.hidden.weight
    (against,) = torch.autograd.grad(terms["similarity"], weight)
    representation = method.network.represent(method.network.features(batch.images))
    (plain,) = torch.autograd.grad(adversarial.cross_entropy(method.domain_net(representation), batch.domains), weight)
    torch.testing.assert_close(against, -0.25 * plain, rtol=1e-3, atol=1e-7)


def test_a_domain_of_one_image_or_none_is_no_trouble():
    method = built("dsn").train()
    batch = replace(toy_batch(), domains=torch.tensor([2] + [0] * 23))
    terms = method.training_loss(batch)
    sum(terms.values()).backward()
    assert all(term.isfinite() for term in terms.values())
    assert all(value.grad.isfinite().all() for value in method.parameters() if value.grad is not None)


def test_separation_can_begin_later():
    method = built("dsn", start=0.5)
    engine = EngineDouble(method, steps=10)
    found = []
    for step in (0, 4, 5, 9):
        engine.global_step = step
        found.append(set(method.train().step(toy_batch(), engine)) > set(SEPARATING))
    assert found == [False, False, True, True]


def test_the_features_before_the_shared_encoder_learn_by_way_of_it_alone(monkeypatch):
    method, batch = still(built("dsn")), toy_batch()
    channels = method.network.channels
    monkeypatch.setattr(method.network, "channels", lambda representation: channels(representation).detach())
    terms = method.training_loss(batch)
    inside = [value for name, value in method.named_parameters() if name.startswith("network.")]
    for term in SEPARATING:
        gradients = torch.autograd.grad(terms[term], inside, retain_graph=True, allow_unused=True)
        assert gradients == (None,) * len(inside), term
