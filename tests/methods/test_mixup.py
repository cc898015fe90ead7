from dataclasses import replace

import pytest
import torch

from domain_masks.errors import InputError
from domain_masks.methods import Context
from domain_masks.methods.method_builder import build_method
from domain_masks.methods.partners import partners_in_next_domain, ring_of_domains
from domain_masks.methods.settings import method_settings
from domain_masks.networks import build_backbone
from methods.contract import CLASSES, SIZE, SOURCES, built, toy_batch
from references import augmentation


def still(method):
    """In training mode, but with batch norm and dropout as in evaluation."""
    method.train()
    method.network.network.eval()
    return method


@pytest.mark.parametrize("step", range(4))
def test_partners_are_of_the_next_domain_each_once(step):
    batch = toy_batch(24, step=step)
    ring = ring_of_domains(batch, "stream", 3)
    partners = partners_in_next_domain(batch, "stream", 3)
    assert sorted(ring) == [0, 1, 2]
    assert sorted(partners.tolist()) == list(range(24))
    following = {domain: ring[(place + 1) % 3] for place, domain in enumerate(ring)}
    assert batch.domains[partners].tolist() == [following[domain] for domain in batch.domains.tolist()]


def test_partners_and_the_ring_change_from_step_to_step():
    batches = [toy_batch(24, step=step) for step in range(8)]
    assert len({tuple(ring_of_domains(batch, "stream", 3)) for batch in batches}) > 1
    assert len({tuple(partners_in_next_domain(batch, "stream", 3).tolist()) for batch in batches}) == 8


def test_unequal_domains_share_partners_and_a_lone_one_finds_them_in_itself():
    batch = toy_batch(24)
    domains = torch.tensor([0] * 15 + [2] * 9)
    partners = partners_in_next_domain(replace(batch, domains=domains), "stream", 3)
    assert domains[partners].tolist() == [2] * 15 + [0] * 9
    assert set(partners[:15].tolist()) == set(range(15, 24))
    alone = partners_in_next_domain(replace(batch, domains=torch.ones(24, dtype=torch.long)), "stream", 3)
    assert sorted(alone.tolist()) == list(range(24))


def test_the_loss_is_that_of_blended_images_against_both_labels():
    method, batch = still(built("mixup", alpha=1.0)), toy_batch(12)
    partner, share = method.blending(batch)
    weight = share[:, None, None, None]
    logits = method.network(weight * batch.images + (1 - weight) * batch.images[partner])
    expected = augmentation.blended_loss(logits.tolist(), batch.labels.tolist(), partner.tolist(), share.tolist())
    assert method.training_loss(batch)["classification"].item() == pytest.approx(expected, rel=1e-5)


def test_with_equal_parts_it_is_domainbeds_objective():
    method, batch = still(built("mixup")), toy_batch(12)
    partner, share = method.blending(batch)
    ring = ring_of_domains(batch, "mixup/partner", 3)
    own = [[n for n in range(12) if batch.domains[n] == domain] for domain in ring]
    pairs = [(rows, partner[rows].tolist(), share[rows[0]].item()) for rows in own]
    assert len({pair[2] for pair in pairs}) == 3

    def logits_of(image):
        return method.network(torch.tensor(image).view(1, 3, SIZE, SIZE))[0].tolist()

    expected = augmentation.domainbed_mixup(logits_of, batch.images.flatten(1).tolist(), batch.labels.tolist(), pairs)
    assert method.training_loss(batch)["classification"].item() == pytest.approx(expected, rel=1e-5)


def test_a_share_is_of_a_pair_of_domains_or_of_the_batch():
    batch = toy_batch(24)
    shares = built("mixup").blending(batch)[1]
    assert all(len(shares[batch.domains == domain].unique()) == 1 for domain in range(3))
    assert len(shares.unique()) == 3
    partner, shares = built("mixup", partners="any").blending(batch)
    assert len(shares.unique()) == 1
    assert sorted(partner.tolist()) == list(range(24))
    assert len(set(zip(batch.domains.tolist(), batch.domains[partner].tolist(), strict=True))) > 3


def test_an_image_blended_with_itself_is_aggregate():
    method, batch = still(built("mixup", alpha=1.0)), toy_batch(12)
    method.blending = lambda batch: (torch.arange(12), torch.full((12,), 0.3))
    plain = method.classification_loss(method.network(batch.images), batch.labels)
    torch.testing.assert_close(method.training_loss(batch)["classification"], plain)


def test_one_source_has_no_other_to_blend_with():
    context = Context(SOURCES[:1], CLASSES, image_size=SIZE)
    backbone = build_backbone("small", len(CLASSES))
    with pytest.raises(InputError, match=r"got one source: name more, or use --method.partners any"):
        build_method("mixup", backbone, context, method_settings("mixup", {}))
    build_method("mixup", backbone, context, method_settings("mixup", {"partners": "any"}))


@pytest.mark.parametrize("value", [0, -1, float("nan"), "much"])
def test_alpha_is_above_0(value):
    with pytest.raises(InputError, match=r"method\.alpha: "):
        method_settings("mixup", {"alpha": value})
