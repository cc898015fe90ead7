import numpy as np
import pytest
import torch

from domain_masks.methods.averaging import average, weighted_average
from domain_masks.methods.domain_classifier import DomainClassifier, fit_domain_classifier
from references import domain_classifier as slow


def features(counts=(30, 12, 21), channels=4, apart=1.0, seed=0):
    """Overlapping clouds of channel means, one per domain, and their domains."""
    generator = torch.Generator().manual_seed(seed)
    domains = torch.cat([torch.full((count,), index) for index, count in enumerate(counts)])
    centres = torch.randn(len(counts), channels, generator=generator) * apart
    pooled = 5 + torch.tensor([0.1, 1.0, 3.0, 10.0])[:channels] * (
        centres[domains] + torch.randn(len(domains), channels, generator=generator)
    )
    return pooled, domains


@pytest.mark.parametrize("counts", [(30, 12, 21), (25, 10), (9, 8, 7, 6, 30)])
def test_probabilities_match_the_reference(counts):
    pooled, domains = features(counts)
    classifier = fit_domain_classifier(pooled, domains, len(counts))
    expected = [slow.probabilities(classifier, row) for row in pooled.tolist()]
    torch.testing.assert_close(classifier(pooled), torch.tensor(expected), rtol=1e-4, atol=1e-5)
    assert not list(classifier.parameters())


def test_no_step_makes_the_penalised_loss_smaller():
    pooled, domains = features()
    classifier = fit_domain_classifier(pooled, domains, 3)
    weight, bias = classifier.weight.tolist(), classifier.bias.tolist()
    given = (classifier, pooled.tolist(), domains.tolist())
    best = slow.loss(*given, weight, bias)
    assert best < slow.loss(*given, [[0.0] * 4] * 3, [0.0] * 3) - 1
    for step in (-0.05, 0.05):
        for domain in range(3):
            moved = [value + step * (index == domain) for index, value in enumerate(bias)]
            assert slow.loss(*given, weight, moved) > best
            for channel in range(4):
                changed = [list(row) for row in weight]
                changed[domain][channel] += step
                assert slow.loss(*given, changed, bias) > best


def test_two_domains_are_the_optimum_of_one_logit():
    pooled, domains = features((40, 20))
    classifier = fit_domain_classifier(pooled, domains, 2)
    torch.testing.assert_close(classifier.weight[0], -classifier.weight[1])
    chance = classifier(pooled)
    torch.testing.assert_close(chance.sum(1), torch.ones(60))
    assert (chance.argmax(1) == domains).float().mean() > 0.6


def test_domains_far_apart_are_told():
    pooled, domains = features(apart=20.0)
    chance = fit_domain_classifier(pooled, domains, 3)(pooled)
    assert chance.argmax(1).equal(domains)
    assert chance.max(1).values.min() > 0.9


def test_features_that_tell_nothing_weigh_all_domains_alike_whatever_their_size():
    pooled = torch.ones(90, 5)
    domains = torch.tensor([0] * 60 + [1] * 20 + [2] * 10)
    chance = fit_domain_classifier(pooled, domains, 3)(torch.full((4, 5), 7.0))
    torch.testing.assert_close(chance, torch.full((4, 3), 1 / 3), rtol=0, atol=1e-3)


def test_a_channel_that_never_changes_does_no_harm():
    pooled, domains = features()
    pooled[:, 2] = 3.0
    classifier = fit_domain_classifier(pooled, domains, 3)
    pooled[0, 2] = 3.1
    assert torch.isfinite(classifier(pooled)).all()
    assert classifier.weight[:, 2].abs().max() < 1e-6


def test_equal_features_are_equal_classifiers():
    first, second = (fit_domain_classifier(*features(), 3).state_dict() for _ in range(2))
    assert all(torch.equal(value, second[name]) for name, value in first.items())


@pytest.mark.parametrize(("domains", "count"), [([0, 0, 1], 3), ([0, 0, 0], 1), ([0, 1, 3], 3)])
def test_every_domain_needs_an_image(domains, count):
    with pytest.raises(ValueError, match="expected images of each of two or more domains"):
        fit_domain_classifier(torch.rand(3, 4), torch.tensor(domains), count)


def test_before_it_is_fitted_all_domains_are_equally_likely():
    torch.testing.assert_close(DomainClassifier(4, 3)(torch.randn(5, 3)), torch.full((5, 4), 0.25))


def drawn(seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(3, 6, 4, generator=generator)
    return logits, torch.randn(6, 3, generator=generator).softmax(1)


def test_weighted_averages_match_the_reference():
    logits, weights = drawn()
    plain = logits.tolist(), weights.tolist()
    expected = torch.tensor(slow.weighted_logits(*plain))
    torch.testing.assert_close(weighted_average(logits, weights, "logits"), expected, rtol=1e-4, atol=1e-5)
    expected = torch.tensor(slow.weighted_probabilities(*plain))
    found = weighted_average(logits, weights, "probabilities").softmax(1)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("how", ["logits", "probabilities"])
def test_equal_weights_are_the_plain_average(how):
    logits, _ = drawn()
    found = weighted_average(logits, torch.full((6, 3), 1 / 3), how)
    torch.testing.assert_close(found, average(logits, how), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("how", ["logits", "probabilities"])
def test_all_weight_on_one_domain_is_its_own_prediction(how):
    logits, _ = drawn()
    logits[0, 0, 0] = 1e4
    for domain in range(3):
        weights = torch.eye(3)[[domain] * 6]
        found = weighted_average(logits, weights, how)
        assert torch.isfinite(found).all()
        torch.testing.assert_close(found.softmax(1), logits[domain].softmax(1))
        if how == "logits":
            assert torch.equal(found, logits[domain])


def test_each_instance_has_weights_of_its_own():
    logits, _ = drawn()
    own = np.array([0, 1, 2, 2, 1, 0])
    found = weighted_average(logits, torch.eye(3)[own], "logits")
    assert torch.equal(found, torch.stack([logits[domain, row] for row, domain in enumerate(own)]))
