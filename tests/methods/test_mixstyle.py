import pytest
import torch

from domain_masks.errors import InputError
from domain_masks.methods import Context
from domain_masks.methods.algorithms.mixstyle import mix_styles, mixed_modules, style_of
from domain_masks.methods.method_builder import build_method
from domain_masks.methods.partners import partners_in_next_domain
from domain_masks.methods.settings import method_settings
from domain_masks.networks import build_backbone
from methods.contract import CLASSES, SIZE, SOURCES, built, toy_batch
from references import augmentation


def still(method):
    """In training mode, but with batch norm and dropout as in evaluation."""
    method.train()
    method.network.network.eval()
    return method


@pytest.mark.parametrize("channels_last", [False, True])
def test_mixed_styles_are_those_of_the_obvious_formula(channels_last):
    torch.manual_seed(0)
    maps = torch.randn(5, 3, 4, 4) * torch.tensor([1.0, 2.0, 5.0])[:, None, None] + 1
    partner, share = torch.tensor([3, 0, 4, 1, 2]), torch.rand(5)
    given = maps.permute(0, 2, 3, 1) if channels_last else maps
    own = style_of(given)
    mixed = mix_styles(given, own, (own[0][partner], own[1][partner]), share)
    expected = augmentation.mixed_style(maps.flatten(2).tolist(), partner.tolist(), share.tolist(), 1e-6)
    result = mixed.permute(0, 3, 1, 2) if channels_last else mixed
    torch.testing.assert_close(result.flatten(2), torch.tensor(expected), rtol=1e-4, atol=1e-5)


def test_the_own_style_changes_nothing_and_styles_carry_no_gradient():
    maps = torch.randn(4, 3, 5, 5, requires_grad=True)
    own = style_of(maps)
    assert not own[0].requires_grad
    assert not own[1].requires_grad
    torch.testing.assert_close(mix_styles(maps, own, own, torch.rand(4)), maps)
    other = (torch.zeros_like(own[0]), 2 * own[1])
    (gradient,) = torch.autograd.grad(mix_styles(maps, own, other, torch.zeros(4)).sum(), maps)
    # (x - μ) / σ · 2σ with μ and σ fixed.
    torch.testing.assert_close(gradient, torch.full_like(maps, 2.0))


@pytest.mark.parametrize("partners", ["random", "next-domain"])
@pytest.mark.parametrize("boundary", [None, "features.block2", "features.block1"])
def test_the_loss_is_that_of_the_network_with_mixed_stages_wherever_it_is_divided(partners, boundary):
    torch.manual_seed(0)
    given = Context(SOURCES, CLASSES, image_size=SIZE, boundary=boundary)
    settings = method_settings("mixstyle", {"probability": 1.0, "partners": partners})
    method = still(build_method("mixstyle", build_backbone("small", len(CLASSES)), given, settings))
    batch, bare = toy_batch(12), method.network.network
    features = batch.images
    for name in ("block1", "block2", "block3"):
        features = getattr(bare.features, name)(features)
        if name != "block3":
            stream = f"mixstyle/features.{name}"
            share = batch.random.beta(stream, 0.1, 0.1)
            random = batch.random.permutation(stream)
            partner = random if partners == "random" else partners_in_next_domain(batch, stream, 3)
            mixed = augmentation.mixed_style(features.flatten(2).tolist(), partner.tolist(), share.tolist(), 1e-6)
            features = torch.tensor(mixed).view(features.shape)
    expected = torch.nn.functional.cross_entropy(bare.classifier(bare.flatten(bare.pool(features))), batch.labels)
    assert method.training_loss(batch)["classification"].item() == pytest.approx(expected.item(), rel=1e-4)


def test_a_module_mixes_by_a_draw_of_its_own_per_step():
    method, outputs = built("mixstyle", probability=0.5), torch.randn(24, 3, 4, 4)
    mixes = {
        name: [not torch.equal(method.mixed(toy_batch(step=step), name, outputs), outputs) for step in range(200)]
        for name in method.modules_mixed
    }
    for drawn in mixes.values():
        assert 70 < sum(drawn) < 130
    first, second = mixes.values()
    assert first != second


def test_predictions_are_not_mixed_also_in_training_mode():
    method, batch = still(built("mixstyle", probability=1.0)), toy_batch(6)
    with torch.no_grad():
        assert torch.equal(method.predict(batch)["predictions"], method.network.network(batch.images))


def test_half_precision_stays_half_precision():
    maps = torch.randn(4, 3, 5, 5).bfloat16()
    own = style_of(maps)
    assert own[0].dtype == torch.float32
    assert mix_styles(maps, own, own, torch.rand(4)).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("name", "size", "expected"),
    [
        ("small", 16, ("features.block1", "features.block2")),
        ("resnet18", 64, ("layer1", "layer2", "layer3")),
        ("mobilenet_v2", 64, ("features.3", "features.6", "features.13")),
    ],
)
def test_by_default_the_three_stages_before_the_last_are_mixed(name, size, expected):
    assert mixed_modules(build_backbone(name, 4), size, None) == expected


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("features.block9",), r"unknown module 'features.block9'"),
        (
            ("classifier.hidden",),
            r"'classifier.hidden' returns shape \(N, 128\) for images of 16 pixels: expected feature maps",
        ),
    ],
)
def test_modules_that_cannot_be_mixed_are_refused(names, message):
    with pytest.raises(InputError, match=message):
        mixed_modules(build_backbone("small", 4), 16, names)


def test_named_modules_are_a_list_or_joined_by_commas():
    assert method_settings("mixstyle", {"modules": "features.block1, features.block3"}).modules == (
        "features.block1",
        "features.block3",
    )
    assert built("mixstyle", modules=["features.block3"]).modules_mixed == ("features.block3",)


def test_one_source_has_no_other_style():
    given = Context(SOURCES[:1], CLASSES, image_size=SIZE)
    settings, backbone = method_settings("mixstyle", {"partners": "next-domain"}), build_backbone("small", len(CLASSES))
    with pytest.raises(InputError, match=r"got one source: name more, or use --method.partners random"):
        build_method("mixstyle", backbone, given, settings)
