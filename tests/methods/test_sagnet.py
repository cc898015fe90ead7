import pytest
import torch
from torch.nn import functional

from domain_masks.errors import InputError
from domain_masks.methods import Context
from domain_masks.methods.method_builder import build_method
from domain_masks.methods.settings import method_settings
from domain_masks.networks import build_backbone
from methods.contract import CLASSES, SIZE, SOURCES, toy_batch
from references import augmentation


def divided_at(boundary, sources=SOURCES, size=SIZE, **settings):
    """SagNet on a small network that is divided at ``boundary``."""
    torch.manual_seed(0)

    def build():
        return build_backbone("small", len(CLASSES))

    given = Context(sources, CLASSES, image_size=size, boundary=boundary, further_backbone=build)
    return build_method("sagnet", build(), given, method_settings("sagnet", settings))


def still(method):
    """In training mode, but with batch norm and dropout as in evaluation."""
    method.train()
    method.network.network.eval()
    return method


@pytest.mark.parametrize("shape", [(5, 3, 4, 4), (5, 7)])
def test_styles_and_contents_are_those_of_the_obvious_formula(shape):
    method, batch = divided_at(None), toy_batch(5)
    torch.manual_seed(0)
    features = torch.randn(shape) * 2 + 1
    maps = features.view(5, -1, 16) if len(shape) == 4 else features[:, None]
    share = batch.random.uniform("sagnet/style", *[1] * (len(shape) - 1)).flatten()
    partner = batch.random.permutation("sagnet/style")
    expected = augmentation.random_style(maps.tolist(), partner.tolist(), share.tolist())
    torch.testing.assert_close(method.random_style(features, batch).view(maps.shape), torch.tensor(expected))
    partner = torch.tensor([2, 0, 1, 4, 3])
    expected = augmentation.random_content(maps.tolist(), partner.tolist())
    torch.testing.assert_close(method.random_content(features, partner, batch).view(maps.shape), torch.tensor(expected))


def test_contents_of_partners_carry_no_gradient_and_styles_do():
    method, batch = divided_at(None), toy_batch(4)
    features, partner = torch.randn(4, 3, 4, 4, requires_grad=True), torch.tensor([1, 0, 3, 2])
    (gradient,) = torch.autograd.grad(method.random_content(features, partner, batch)[0].square().sum(), features)
    assert gradient[0].any()
    assert not gradient[1:].any()
    method.random_style(features, batch).square()[0].sum().backward()
    rows = {0, int(batch.random.permutation("sagnet/style")[0])}
    assert {row for row in range(4) if features.grad[row].any()} == rows


@pytest.mark.parametrize("boundary", ["features.block3", None])
@pytest.mark.parametrize("adversary", ["features", "normalisation"])
def test_each_loss_reaches_the_part_that_it_is_meant_for(boundary, adversary):
    method = divided_at(boundary, adversary=adversary).train()
    terms = method.training_loss(toy_batch())
    reached = {}
    for name, term in terms.items():
        trained = dict(method.named_parameters())
        gradients = torch.autograd.grad(term, list(trained.values()), retain_graph=True, allow_unused=True)
        reached[name] = {key for key, one in zip(trained, gradients, strict=True) if one is not None and one.any()}
    own = {name for name, _ in method.network.named_parameters(prefix="network")}
    of_features = {name for name in own if method.network.in_features(name.removeprefix("network.network."))}
    assert reached["content"] == own
    assert reached["style"] == {name for name, _ in method.style.named_parameters(prefix="style")}
    normalisation = {name for name in of_features if name.split(".")[-2] == "1"}
    assert reached["adversary"] == (of_features if adversary == "features" else normalisation)
    assert {} != normalisation != of_features


def test_the_losses_are_the_papers():
    method, batch = still(divided_at("features.block3", adversary_weight=0.3)), toy_batch(12)
    terms, features = method.training_loss(batch), method.network.features(batch.images)
    content = method.network.task(method.random_style(features, batch))
    assert terms["content"].item() == pytest.approx(functional.cross_entropy(content, batch.labels).item())
    partner = batch.random.permutation("sagnet/content")
    logits = method.style_logits(method.random_content(features, partner, batch), learned=True)
    assert terms["style"].item() == pytest.approx(functional.cross_entropy(logits, batch.labels).item())
    uniform = -sum(row.log_softmax(0).sum().item() / 4 for row in logits) / 12
    assert terms["adversary"].item() == pytest.approx(0.3 * uniform, rel=1e-5)
    assert "adversary" not in divided_at("features.block3", adversary_weight=0).train().training_loss(batch)


def test_the_style_network_is_another_t():
    method, features = still(divided_at("features.block3")), toy_batch(6).images
    other = build_backbone("small", len(CLASSES)).eval()
    inside = dict(other.named_parameters())
    with torch.no_grad():
        for name, own in zip(method._style_names, method.style, strict=True):
            inside[name.removeprefix("network.")].copy_(own)
        features = method.network.features(features)
        expected = other.classifier(other.flatten(other.pool(other.features.block3(features))))
        torch.testing.assert_close(method.style_logits(features, learned=True), expected)
    head = method.network.network.classifier.head.weight
    assert not any(torch.equal(head, own) for own in method.style if own.shape == head.shape)


def test_a_pass_of_the_style_network_moves_no_statistics_of_t():
    method = divided_at("features.block3").train()
    maps = method.network.features(toy_batch().images)
    before = {name: value.clone() for name, value in method.named_buffers()}
    method.style_logits(maps, learned=True)
    assert all(torch.equal(value, before[name]) for name, value in method.named_buffers())


def test_predictions_are_the_networks_and_need_no_style_network():
    method, batch = still(divided_at("features.block3")), toy_batch(6)
    assert method.training_only() == ("style.",)
    method.style = None
    with torch.no_grad():
        assert torch.equal(method.predict(batch)["predictions"], method.network.network(batch.images))


def test_one_place_has_no_variance():
    with pytest.raises(
        InputError, match=r"got the shape \(64, 1, 1\) with a single position: use larger images, or an earlier"
    ):
        divided_at("pool", size=8)


def test_a_network_without_normalisation_in_f_is_refused_for_it():
    with pytest.raises(InputError, match=r"no normalisation layer before the boundary 'features.block1': use features"):
        divided_at("features.block1", adversary="normalisation")
