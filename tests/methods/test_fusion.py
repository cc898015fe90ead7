from dataclasses import replace

import pytest
import torch

from domain_masks.methods.algorithms.fusion import with_agnostic_part
from methods.contract import SOURCES, built, still, toy_batch
from references import adversarial


def parts(method, batch):
    with torch.no_grad():
        features = method.network.features(batch.images)
        heads = method.network.task_domain_logits(features)
        likeness = method.domain_branch(method.network.pooled(features))
    return heads, likeness


@pytest.mark.parametrize("alpha", [0.0, 0.25, 1.0])
def test_predictions_are_fused_by_what_the_branch_finds(alpha):
    method = built("fusion", alpha=alpha).eval()
    batch = toy_batch(10)
    with torch.no_grad():
        ensembles = method.predict(batch)
    heads, likeness = parts(method, batch)
    weights = likeness.softmax(1)
    assert (weights.max(1).values - weights.min(1).values).max() > 0.01
    fused = adversarial.fused(heads.tolist(), weights.tolist(), alpha)
    torch.testing.assert_close(ensembles["predictions"], torch.tensor(fused), rtol=1e-4, atol=1e-5)
    for index, source in enumerate(SOURCES):
        certain = [[float(domain == index) for domain in range(3)]] * 10
        own = torch.tensor(adversarial.fused(heads.tolist(), certain, alpha))
        torch.testing.assert_close(ensembles[f"known:{source}"], own, rtol=1e-4, atol=1e-5)


def test_the_agnostic_part_is_shared():
    logits = torch.randn(3, 2, 4)
    assert with_agnostic_part(logits, 0.0).equal(logits)
    mean = logits.mean(0, keepdim=True).expand_as(logits)
    torch.testing.assert_close(with_agnostic_part(logits, 1.0), mean)
    torch.testing.assert_close(with_agnostic_part(logits, 0.25).mean(0), logits.mean(0))


@pytest.mark.parametrize("assignment", ["known", "predicted"])
def test_training_fuses_by_the_known_source_or_the_predicted_ones(assignment):
    method = still(built("fusion", assignment=assignment, domain_weight=0.5))
    batch = toy_batch()
    terms = method.training_loss(batch)
    heads, likeness = parts(method, batch)
    known = torch.nn.functional.one_hot(batch.domains, 3).float()
    weights = known if assignment == "known" else likeness.softmax(1)
    fused = torch.tensor(adversarial.fused(heads.tolist(), weights.tolist(), 0.25))
    expected = adversarial.cross_entropy(fused, batch.labels).item()
    assert terms["classification"].item() == pytest.approx(expected, rel=1e-4)
    assert terms["domain"].item() == pytest.approx(
        0.5 * adversarial.cross_entropy(likeness, batch.domains).item(), rel=1e-4
    )


@pytest.mark.parametrize("assignment", ["known", "predicted"])
def test_the_branch_learns_domains_and_no_head_does(assignment):
    method = still(built("fusion", assignment=assignment))
    terms = method.training_loss(toy_batch())
    names = {name for name, _ in method.named_parameters()}
    branch = {name for name in names if name.startswith("domain_branch.")}
    features = {name for name in names if name.startswith("network.network.features.")}
    meant = {"domain": branch | features, "classification": names - (branch if assignment == "known" else set())}
    for term, expected in meant.items():
        method.zero_grad()
        terms[term].backward(retain_graph=True)
        assert {name for name, value in method.named_parameters() if value.grad is not None} == expected


def test_an_image_trains_its_own_head_most_and_the_others_by_the_agnostic_part():
    method = still(built("fusion", alpha=0.25))
    head = method.network.network.classifier.head
    batch = replace(toy_batch(), domains=torch.zeros(24, dtype=torch.int64))
    method.training_loss(batch)["classification"].backward()
    own, other, another = head.weight.grad
    torch.testing.assert_close(other, another)
    torch.testing.assert_close(own * (0.25 / 3), other * (0.75 + 0.25 / 3), rtol=1e-3, atol=1e-6)
    method = still(built("fusion", alpha=0.0))
    method.training_loss(batch)["classification"].backward()
    assert not method.network.network.classifier.head.weight.grad[1:].any()


def test_heads_and_branch_are_adopted_source_by_source():
    names = built("fusion").domain_tensors()
    assert names == {
        "network.network.classifier.head.weight",
        "network.network.classifier.head.bias",
        "domain_branch.weight",
        "domain_branch.bias",
    }
