from dataclasses import replace

import pytest
import torch

from domain_masks.methods.algorithms.crossgrad import perturbed
from domain_masks.randomness import BatchRandomness
from methods.contract import EngineDouble, built, still, toy_batch
from references import adversarial

DEVIATIONS = (0.2, 0.25, 0.5)


@pytest.mark.parametrize(("epsilon", "clip"), [(10.0, 0.1), (1.0, 0.1), (500.0, 1e-3), (0.0, 0.1)])
def test_both_nets_learn_from_what_the_other_perturbs(epsilon, clip):
    method = still(built("crossgrad", epsilon=epsilon, clip=clip, label_weight=0.3))
    method.domain_net.eval()
    method.scale = tuple(0.5 / value for value in DEVIATIONS)
    batch = toy_batch()
    terms = method.training_loss(batch)

    def label_loss(images):
        return adversarial.cross_entropy(method.network(images), batch.labels)

    def domain_loss(images):
        return adversarial.cross_entropy(method.domain_net(images), batch.domains)

    for_labels = adversarial.perturbed(domain_loss, batch.images, epsilon, clip, DEVIATIONS)
    for_domains = adversarial.perturbed(label_loss, batch.images, epsilon, clip, DEVIATIONS)
    assert (epsilon == 0) == for_labels.allclose(batch.images, atol=1e-5)
    with torch.no_grad():
        classification = 0.7 * label_loss(batch.images) + 0.3 * label_loss(for_labels)
        domain = 0.5 * domain_loss(batch.images) + 0.5 * domain_loss(for_domains)
    assert terms["classification"].item() == pytest.approx(classification.item(), rel=1e-5)
    assert terms["domain"].item() == pytest.approx(domain.item(), rel=1e-5)


def test_each_loss_trains_its_own_net_alone():
    method = built("crossgrad").train()
    terms = method.training_loss(toy_batch())
    for term, own in (("classification", "network."), ("domain", "domain_net.")):
        method.zero_grad()
        terms[term].backward(retain_graph=True)
        assert all((value.grad is not None) == name.startswith(own) for name, value in method.named_parameters())
        assert all(value.grad.any() for name, value in method.named_parameters() if name.startswith(own))


def test_no_pixel_moves_further_than_the_limit():
    images, gradients = torch.zeros(2, 3, 4, 4), torch.randn(2, 3, 4, 4) * 10
    moved = perturbed(images, gradients, 10.0, 0.1, torch.tensor([1.0, 2.0, 4.0]).view(3, 1, 1))
    assert [moved[:, channel].abs().max().item() for channel in range(3)] == pytest.approx([1.0, 2.0, 4.0])
    far = perturbed(images, gradients, 10.0, None, torch.ones(3, 1, 1))
    torch.testing.assert_close(far, 10 * gradients)


def test_the_space_is_that_of_pixels_or_of_what_the_network_sees():
    assert built("crossgrad", space="normalised").scale == (1.0, 1.0, 1.0)
    method = built("crossgrad")
    known = method.context.preprocessing
    assert method.scale == ((1.0, 1.0, 1.0) if known is None else tuple(0.5 / value for value in known.std))


def test_a_part_of_a_batch_is_perturbed_as_in_the_whole(monkeypatch):
    method = still(built("crossgrad", epsilon=1000.0, clip="none"))
    method.domain_net.eval()
    seen = []
    original = method.network.features
    monkeypatch.setattr(method.network, "features", lambda images: seen.append(images.detach()) or original(images))
    batch = toy_batch()
    method.training_loss(batch)
    part = replace(
        batch,
        images=batch.images[:9],
        labels=batch.labels[:9],
        domains=batch.domains[:9],
        ids=batch.ids[:9],
        random=BatchRandomness(0, 0, 0, 9, 24),
    )
    method.training_loss(part)
    whole, mine = seen[1], seen[3]
    torch.testing.assert_close(mine, whole[:9], rtol=1e-4, atol=1e-5)
    assert not mine.allclose(batch.images[:9], atol=1e-2)


def test_the_domain_net_is_a_backbone_with_a_class_for_each_source_and_an_optimiser_of_its_own():
    method = built("crossgrad", domain_lr=0.5)
    assert method.domain_net(torch.zeros(2, 3, 16, 16)).shape == (2, 3)
    body = {name for name in method.network.network.state_dict() if "head" not in name}
    assert body < set(method.domain_net.state_dict())
    before = [value.clone() for value in method.domain_net.parameters()]
    engine = EngineDouble(method)
    method.train().step(toy_batch(), engine)
    assert engine.optimizers["domain_net"].param_groups[0]["lr"] == 0.5
    assert all(not a.equal(b) for a, b in zip(before, method.domain_net.parameters(), strict=True))


def test_images_are_needed():
    batch = replace(toy_batch(), images=None, features=torch.rand(24, 64, 2, 2))
    with pytest.raises(ValueError, match="images to perturb"):
        built("crossgrad").train().training_loss(batch)
