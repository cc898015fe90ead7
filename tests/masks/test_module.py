import copy
import io
import pickle

import pytest
import torch

from domain_masks.masks import DomainMasks
from references import masks as slow

SIZES = {"layer4.1": 40, "fc": 17}


def drawn(domains=3, seed=0):
    torch.manual_seed(seed)
    masks = DomainMasks(SIZES, domains)
    with torch.no_grad():
        for _, logits in masks.items():
            logits.normal_()
    return masks


def test_sites_keep_their_order_and_names():
    masks = DomainMasks(SIZES, 3)
    assert [site for site, _ in masks.items()] == ["layer4.1", "fc"]
    assert {site: tuple(logits.shape) for site, logits in masks.items()} == {"layer4.1": (3, 40), "fc": (3, 17)}
    assert set(masks.state_dict()) == {"logits.layer4/1", "logits.fc"}
    assert masks["layer4.1"] is dict(masks.items())["layer4.1"]
    assert all(parameter.requires_grad for parameter in masks.parameters())


def test_uniform_initialisation_is_between_zero_and_one():
    torch.manual_seed(0)
    logits = DomainMasks({"site": 20_000}, 2)["site"].detach()
    assert float(logits.min()) >= 0.0
    assert float(logits.max()) <= 1.0
    assert float(logits.mean()) == pytest.approx(0.5, abs=0.01)
    assert float(logits.var()) == pytest.approx(1 / 12, abs=0.005)
    assert not torch.equal(logits[0], logits[1])


@pytest.mark.parametrize("value", [0.0, -1.5, 3])
def test_constant_initialisation(value):
    for _, logits in DomainMasks(SIZES, 2, value).items():
        assert set(logits.flatten().tolist()) == {float(value)}


def test_parameters_can_be_set_anew():
    masks = DomainMasks(SIZES, 2, 0.0)
    masks.reset_parameters("uniform")
    assert all(len(logits.unique()) > 1 for _, logits in masks.items())


def test_a_module_without_domains_is_refused():
    with pytest.raises(ValueError, match="at least one domain, got 0"):
        DomainMasks(SIZES, 0)


@pytest.mark.parametrize("domains", [1, 2, 5])
def test_losses_are_sums_over_the_sites(domains):
    masks = drawn(domains)
    plain = [logits.tolist() for _, logits in masks.items()]
    for reduction in ("sum", "mean"):
        expected = sum(slow.overlap_loss(logits, reduction, 1e-6) for logits in plain)
        assert masks.overlap_loss(reduction, 1e-6).item() == pytest.approx(expected, rel=1e-5)
    papers = sum(slow.overlap_loss(logits, "sum", 0.0) for logits in plain)
    assert masks.overlap_loss().item() == pytest.approx(papers, rel=1e-5)
    assert masks.sparsity_loss().item() == pytest.approx(sum(map(slow.sparsity_loss, plain)), rel=1e-5)


def test_samples_take_each_sites_own_noise():
    masks = drawn()
    domains = torch.tensor([2, 0, 1, 2])
    noise = {site: torch.rand(4, size) for site, size in SIZES.items()}
    sampled = masks.sample(domains, noise)
    for site, logits in masks.items():
        assert sampled[site].tolist() == slow.sample(logits.tolist(), domains.tolist(), noise[site].tolist())


def test_soft_and_hard_masks():
    masks = drawn()
    soft = masks.soft(torch.tensor([1, 1, 0]))
    for site, probabilities in masks.probabilities().items():
        assert torch.equal(soft[site], probabilities[[1, 1, 0]])
        assert torch.equal(masks.hard()[site], probabilities > 0.5)
        assert not masks.hard()[site].requires_grad


def test_copies_are_independent():
    masks = drawn()
    twin = copy.deepcopy(masks)
    with torch.no_grad():
        twin["fc"].zero_()
    assert torch.count_nonzero(masks["fc"]) > 0
    masks.load_state_dict(twin.state_dict())
    assert torch.count_nonzero(masks["fc"]) == 0


def stored(masks):
    file = io.BytesIO()
    torch.save(masks, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda masks: pickle.loads(pickle.dumps(masks)), stored])
def test_copies_of_shared_masks_share_them(copied):
    masks = drawn()
    assert not copied(masks).is_shared
    masks.share()
    masks.share()
    for each in (masks, copied(masks), copied(copied(masks))):
        assert each.is_shared
        logits = each["fc"]
        logits.grad = None
        (logits * torch.tensor([1.0, 2.0, 4.0])[:, None]).sum().backward()
        assert torch.equal(logits.grad, torch.full_like(logits, 7.0)), "once the sum over the rows"
