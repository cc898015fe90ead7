import pytest
import torch
from torch.nn import functional

from domain_masks.errors import InputError
from domain_masks.methods import Context
from domain_masks.methods.algorithms.rsc import challenged, kept_features
from domain_masks.methods.method_builder import build_method
from domain_masks.methods.settings import method_settings
from domain_masks.networks import build_backbone
from methods.contract import CLASSES, SIZE, SOURCES, built, toy_batch
from references import augmentation


def divided_at(boundary, **settings):
    """RSC on a small network that is divided at ``boundary``."""
    torch.manual_seed(0)
    given = Context(SOURCES, CLASSES, image_size=SIZE, boundary=boundary)
    return build_method("rsc", build_backbone("small", len(CLASSES)), given, method_settings("rsc", settings))


def gradient_of(method, batch):
    """The gradient of the own class's logit by the output of block 3, the output, and the probability of the own class."""
    bare = method.network.network.eval()
    maps = bare.features(batch.images).detach().requires_grad_()
    logits = tail(bare, maps)
    rows = torch.arange(len(batch))
    (gradient,) = torch.autograd.grad(logits[rows, batch.labels].sum(), maps)
    return maps.detach(), gradient, logits.softmax(1)[rows, batch.labels].tolist()


def tail(bare, maps):
    return bare.classifier(bare.flatten(bare.pool(maps)))


@pytest.mark.parametrize("share", [0.1, 1 / 3, 0.5, 0.9])
@pytest.mark.parametrize("size", [1, 3, 7, 49])
def test_the_largest_scores_of_every_row_are_muted(share, size):
    torch.manual_seed(size)
    scores = torch.randn(6, size)
    scores[0] = 0.0
    kept = kept_features(scores[:, :, None], share)
    for row, given in zip(kept[:, :, 0].tolist(), scores.tolist(), strict=True):
        assert {k for k in range(size) if row[k] == 0} == augmentation.muted(given, share)
    # Where all are alike there is nothing that speaks most.
    assert kept[0].all()


def test_the_images_that_lose_most_are_challenged():
    changes = torch.tensor([0.5, -0.1, 0.3, 0.00005, 0.2, 0.0])
    for share in (0.2, 1 / 3, 0.5, 1.0):
        expected = augmentation.challenged(changes.tolist(), share)
        assert set(challenged(changes, share).nonzero()[:, 0].tolist()) == expected
    assert challenged(changes, 1.0).tolist() == [True, False, True, False, True, False]


@pytest.mark.parametrize("muting", ["places", "channels", "elements"])
@pytest.mark.parametrize("places_by", ["activation", "gradient"])
def test_the_mask_is_that_of_the_obvious_formula(muting, places_by):
    method, batch = divided_at("features.block2", muting=muting, places_by=places_by), toy_batch(12)
    assert method.module == "features.block3"
    keep = method.mask(method.network.eval().features(batch.images), batch.labels, batch)
    maps, gradient, before = gradient_of(method, batch)
    of_channels = gradient.mean((2, 3))
    if muting == "channels":
        scores = of_channels[:, :, None, None]
    elif muting == "elements":
        scores = gradient
    else:
        ranked = maps * of_channels[:, :, None, None] if places_by == "activation" else gradient
        scores = ranked.mean(1, keepdim=True)
    muted = [augmentation.muted(row, 1 / 3) for row in scores.flatten(1).tolist()]
    expected = torch.ones_like(scores).flatten(1)
    for row, indices in enumerate(muted):
        expected[row, sorted(indices)] = 0
    expected = expected.view(scores.shape)
    after = tail(method.network.network, maps * expected).softmax(1)[torch.arange(12), batch.labels].tolist()
    changes = [one - other for one, other in zip(before, after, strict=True)]
    for row in set(range(12)) - augmentation.challenged(changes, 1 / 3):
        expected[row] = 1
    assert torch.equal(keep, expected)
    assert 0 < int((keep == 0).flatten(1).any(1).sum()) <= 4


def test_the_loss_is_that_of_what_is_left():
    method, batch = divided_at("features.block2", muting="channels").train(), toy_batch(12)
    method.network.network.classifier.dropout.p = 0.0
    for layer in (module for module in method.modules() if isinstance(module, torch.nn.BatchNorm2d)):
        layer.momentum = 0.0
    features = method.network.features(batch.images).detach()
    keep = method.mask(features, batch.labels, batch)
    assert method.training
    assert method.network.network.features.block3[1].training
    bare = method.network.network
    expected = functional.cross_entropy(tail(bare, bare.features(batch.images) * keep), batch.labels)
    torch.testing.assert_close(method.training_loss(batch)["classification"], expected)


def test_masks_leave_the_network_and_its_statistics_as_they_were():
    method, batch = divided_at("features.block2").train(), toy_batch(12)
    features = method.network.features(batch.images)
    before = {name: value.clone() for name, value in method.state_dict().items()}
    method.mask(features.detach(), batch.labels, batch)
    assert all(torch.equal(value, before[name]) for name, value in method.state_dict().items())
    assert all(parameter.grad is None for parameter in method.parameters())


def test_places_or_channels_are_drawn_per_step():
    method = divided_at("features.block2")
    features = method.network.eval().features(toy_batch(12).images)
    shapes = [tuple(method.mask(features, toy_batch(12).labels, toy_batch(12, step=step)).shape) for step in range(20)]
    assert set(shapes) == {(12, 1, 2, 2), (12, 64, 1, 1)}


def test_without_a_stage_in_t_the_boundarys_input_is_muted():
    method, batch = built("rsc", muting="elements"), toy_batch(12)
    assert method.module is None
    keep = method.mask(method.network.eval().features(batch.images), batch.labels, batch)
    assert keep.shape == (12, 256)


def test_a_container_of_the_boundary_ends_in_t():
    torch.manual_seed(0)
    given = Context(SOURCES, CLASSES, image_size=32)
    method = build_method("rsc", build_backbone("resnet18", len(CLASSES)), given, method_settings("rsc", {}))
    assert method.network.boundary == "layer4.1"
    assert method.module == "layer4"


@pytest.mark.parametrize("rise", [0.0, 0.2])
def test_the_share_of_the_batch_rises_every_ten_epochs(rise):
    method, batch = built("rsc", muting="elements", batch=0.25, batch_rise=rise), toy_batch(24)
    features = method.network.eval().features(batch.images)
    muted = []
    for epoch in (0, 9, 10, 29, 500):
        method._epoch = epoch
        muted.append(int((method.mask(features, batch.labels, batch) == 0).any(1).sum()))
    if rise:
        assert muted[0] == muted[1] == 6
        assert muted[2] == 11
        assert muted[3] == 16
        assert muted[4] >= muted[3]
    else:
        assert set(muted) == {6}


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (
            "features.block1",
            r"'features.block1' is before the boundary 'features.block2': expected a module of the task",
        ),
        ("features.block9", r"unknown module 'features.block9'"),
    ],
)
def test_a_module_that_is_not_in_t_is_refused(module, message):
    with pytest.raises(InputError, match=message):
        divided_at("features.block2", module=module)


@pytest.mark.parametrize(
    ("setting", "value"), [("features", 0), ("features", 1), ("batch", 0), ("batch", 1.1), ("batch_rise", -0.1)]
)
def test_shares_out_of_range_are_named(setting, value):
    with pytest.raises(InputError, match=rf"method\.{setting}: "):
        method_settings("rsc", {setting: value})
