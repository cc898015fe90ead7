from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import nn

from domain_masks.batch import DomainBatch
from domain_masks.errors import InputError
from domain_masks.methods.adaptation import (
    Tent,
    entropy,
    joined,
    normalisation_parameters,
    with_last_joined,
    with_statistics_of,
)
from domain_masks.methods.base import Context
from domain_masks.methods.method_builder import build_method
from domain_masks.methods.prediction import output_of
from domain_masks.methods.settings import method_settings
from references import adaptation as slow

CLASSES = ("a", "b", "c")
SOURCES = ("ink", "paper")
SIZE = 12


class Net(nn.Module):
    """Two convolutions, each with a normalisation layer, dropout, and a head."""

    def __init__(self, norm=nn.BatchNorm2d) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 6, 3), norm(6), nn.ReLU(), nn.Dropout(0.5))
        self.later = nn.Sequential(nn.Conv2d(6, 6, 3), norm(6), nn.ReLU())
        self.head = nn.Linear(6, len(CLASSES))

    def forward(self, images):
        return self.head(self.later(self.features(images)).mean((2, 3)))


def made(name: str, norm=nn.BatchNorm2d, **settings):
    torch.manual_seed(0)
    network = Net(norm)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.7)
    boundary = "later"
    sites = ("later", "head") if name == "dmg" else ()
    context = Context(SOURCES, CLASSES, sites=sites, boundary=boundary, image_size=SIZE)
    return build_method(name, network, context, method_settings(name, settings)).eval()


def batches(count=3, rows=8):
    torch.manual_seed(1)
    return [batch_of(2 * torch.randn(rows, 3, SIZE, SIZE) + 1) for _ in range(count)]


def batch_of(images):
    return DomainBatch(images, None, None, torch.arange(len(images)))


def state(method):
    return {name: value.clone() for name, value in method.state_dict().items()}


def test_tent_is_the_written_out_one():
    method = made("aggregate")
    before = state(method)
    expected = slow.tent(deepcopy(method.network.network), [batch.images for batch in batches()], 0.01)
    tent = Tent(method, 0.01)
    found = [tent.output(batch).logits["predictions"] for batch in batches()]
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    assert (found[2] - output_of(method, batches()[2]).logits["predictions"]).abs().max() > 0.05, "it adapts"
    assert all(torch.equal(before[name], value) for name, value in state(method).items()), "a copy is adapted"
    assert not any(found[0].requires_grad for found in [found])


def test_tent_with_masks_adapts_what_all_masks_share():
    method = made("dmg")
    tent = Tent(method, 0.05)
    first, second = batches(2)
    ordinary = output_of(method, first).logits
    output = tent.output(first).logits
    assert set(output) == set(ordinary) == {"predictions", "masks", "known:ink", "known:paper"}
    # The first batch is predicted before any step, with its own statistics: those of all masks together.
    single = torch.stack([output[f"known:{source}"] for source in SOURCES])
    torch.testing.assert_close(output["predictions"], single.mean(0))
    changed = {
        name for name, value in tent.method.state_dict().items() if not torch.equal(value, method.state_dict()[name])
    }
    norms = {f"network.network.{layer}.1.{part}" for layer in ("features", "later") for part in ("weight", "bias")}
    counters = {f"network.network.{layer}.1.num_batches_tracked" for layer in ("features", "later")}
    assert changed - counters == norms, "neither masks, nor other weights, nor running statistics"
    for _ in range(20):
        again = tent.output(second).logits["predictions"]
    assert entropy(again).mean() < entropy(Tent(method, 0.05).output(second).logits["predictions"]).mean()


def test_tent_is_deterministic_and_depends_on_the_order():
    method = made("dmg")

    def run(order):
        tent = Tent(method, 0.05)
        return [tent.output(batches()[place]).logits["predictions"] for place in order]

    assert all(torch.equal(one, other) for one, other in zip(run((0, 1, 2)), run((0, 1, 2)), strict=True))
    assert not torch.equal(run((0, 1, 2))[2], run((1, 0, 2))[2])


@pytest.mark.parametrize("norm", [lambda size: nn.GroupNorm(2, size)], ids=["group norm"])
def test_tent_without_batch_norm_adapts_other_layers(norm):
    method = made("aggregate", norm)
    tent = Tent(method, 0.01)
    first = batches()[0]
    torch.testing.assert_close(tent.output(first).logits["predictions"], output_of(method, first).logits["predictions"])
    assert not torch.equal(tent.output(first).logits["predictions"], output_of(method, first).logits["predictions"]), (
        "after the first step"
    )
    assert len(normalisation_parameters(method)) == 4
    with pytest.raises(InputError, match="no batch norm"):
        with_statistics_of(method, batches())


def test_statistics_are_those_of_all_images_whatever_the_batches():
    method = made("dmg")
    before = state(method)
    images = torch.cat([batch.images for batch in batches()])
    adapted = with_statistics_of(method, map(batch_of, images.split((11, 8, 5))))
    assert all(torch.equal(before[name], value) for name, value in state(method).items()), "a copy is adapted"
    first = adapted.network.network.features
    with torch.no_grad():
        activations = first[0](images)
    torch.testing.assert_close(first[1].running_mean, activations.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
    (whole,) = [with_statistics_of(method, [batch_of(images)])]
    with torch.no_grad():
        own = output_of(whole, batch_of(images)).logits["predictions"]
    torch.testing.assert_close(whole.network.network.features[1].running_var, activations.var((0, 2, 3)))
    # In T, of both masks and their mean: what prediction runs.
    features = whole.boundary_features(batch_of(images))
    masks = whole.network.masks.probabilities()["later"]
    with torch.no_grad():
        later = whole.network.network.later
        means = [later[0](features * mask[:, None, None]).mean((0, 2, 3)) for mask in (*masks, masks.mean(0))]
    torch.testing.assert_close(later[1].running_mean, torch.stack(means).mean(0), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(own, output_of(method, batch_of(images)).logits["predictions"])
    assert not adapted.training
    assert not any(module.training for module in adapted.modules())


@pytest.mark.parametrize("name", ["dsbn", "multi_headed", "aggregate"])
def test_other_methods_adapt_as_well(name):
    method = made(name)
    for found in (
        output_of(with_statistics_of(method, batches()), batches()[0]),
        Tent(method, 0.01).output(batches()[0]),
    ):
        assert found.logits["predictions"].shape == (8, len(CLASSES))
        assert not torch.allclose(found.logits["predictions"], output_of(method, batches()[0]).logits["predictions"])


class Bare(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 4, 3)
        self.head = nn.Linear(4, len(CLASSES))

    def forward(self, images):
        return self.head(self.body(images).relu().mean((2, 3)))


def test_what_cannot_be_adapted_is_refused():
    context = Context(SOURCES, CLASSES, sites=(), boundary="head", image_size=SIZE)
    bare = build_method("aggregate", Bare(), context, method_settings("aggregate", {}))
    with pytest.raises(InputError, match="no normalisation layer"):
        Tent(bare, 0.01)
    with pytest.raises(InputError, match="no batch norm"):
        with_statistics_of(bare, batches())
    with pytest.raises(InputError, match="at least one image"):
        with_statistics_of(made("aggregate"), [])
    with pytest.raises(InputError, match="NaN or infinity: use a smaller"):
        Tent(made("aggregate"), 0.01).output(batch_of(torch.full((4, 3, SIZE, SIZE), torch.nan)))
    closed = build_method("dica", Net(), context, method_settings("dica", {}))
    with pytest.raises(InputError, match="features of a fixed network"):
        Tent(closed, 0.01)


def test_entropy_limits():
    flat, sure = torch.zeros(2, 4), torch.tensor([[100.0, 0.0, 0.0]])
    torch.testing.assert_close(entropy(flat), torch.full((2,), 4.0).log())
    assert float(entropy(sure)) == pytest.approx(0.0)


@pytest.mark.parametrize(("sizes", "expected"), [((8, 8, 3), [8, 11]), ((8, 8, 4), [8, 8, 4]), ((3,), [3]), ((), [])])
def test_a_small_last_batch_joins_the_one_before(sizes, expected):
    images = torch.arange(sum(sizes), dtype=torch.float32)[:, None, None, None]
    found = list(with_last_joined(map(batch_of, images.split(list(sizes)) if sizes else ()), 8, len, joined))
    assert [len(batch) for batch in found] == expected
    if found:
        assert torch.equal(torch.cat([batch.images for batch in found]), images)
