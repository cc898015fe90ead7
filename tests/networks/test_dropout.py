"""Dropout directly before T belongs to T; in T nothing but the masks is drawn while they are learned; F keeps its own."""

import copy
import random

import pytest
import torch
from timm.layers import DropBlock2d as TimmDropBlock
from timm.layers import DropPath
from torch import nn
from torch.nn import functional
from torchvision.ops import DropBlock2d, StochasticDepth
from torchvision.ops import stochastic_depth as stochastic_depth_function

from domain_masks.errors import InputError
from domain_masks.networks import Network, build_backbone, masked
from domain_masks.networks.dropout import ends_in_dropout
from references.networks import FunctionalDropout

SIDE, COUNT = 8, 6


class OwnDropPath(nn.Module):
    """As many repositories copy it."""

    def forward(self, inputs):
        if not self.training:
            return inputs
        keep = torch.rand(inputs.shape[0], *[1] * (inputs.dim() - 1)) < 0.5
        return inputs * keep / 0.5


class Neck(nn.Module):
    """Ends in dropout by its function."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(32, 32)

    def forward(self, inputs, scale=None):
        return functional.dropout(self.layer(inputs).tanh(), 0.5, self.training)


class NeckInTraining(Neck):
    def forward(self, inputs, scale=None):
        hidden = self.layer(inputs).tanh()
        if self.training:
            hidden = functional.dropout2d(hidden.view(-1, 8, 2, 2), 0.5).flatten(1)
        return hidden


class Nested(nn.Module):
    def __init__(self):
        super().__init__()
        self.necks = nn.Sequential(nn.Linear(32, 32), Neck(), nn.Identity())

    def forward(self, inputs):
        return self.necks(inputs)


class Chain(nn.Module):
    """Maps (N, 8, 2, 2) -> ``way`` -> ``site`` -> ``head``; ``early`` is dropout of F that is not directly before the site."""

    def __init__(self, *way, maps=True, early=0.0):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 4, stride=4)
        self.early = nn.Dropout(early)
        self.mix = nn.Conv2d(8, 8, 1)
        self.way = nn.Sequential(*([] if maps else [nn.Flatten()]), *way, *([nn.Flatten()] if maps else []))
        self.site = nn.Linear(32, 16)
        self.late = nn.Dropout(0.5)
        self.head = nn.Linear(16, 5)

    def before(self, images):
        return self.mix(self.early(self.stem(images))).relu()

    def forward(self, images):
        return self.head(self.late(self.site(self.way(self.before(images))).relu()))


class ByFunction(Chain):
    """The way is written in the forward."""

    def __init__(self, way, early=0.0):
        super().__init__(early=early)
        self.by_function = way

    def forward(self, images):
        hidden = self.by_function(self.before(images), self.training)
        return self.head(functional.dropout(self.site(hidden).relu(), training=self.training))


def in_training_alone(maps, training):
    if training:
        maps = functional.dropout2d(maps, 0.5)
    return maps.flatten(1)


class DepthByFunction(Chain):
    def forward(self, images):
        hidden = stochastic_depth_function(self.before(images), 0.5, "row", self.training).flatten(1)
        return self.head(self.late(self.site(hidden).relu()))


class Selecting(Chain):
    """Two rows of 32 values, of which a first selection drops one, and one behind the dropout the other."""

    def forward(self, images):
        rows = self.before(images).flatten(1)[:, None].expand(-1, 3, -1)
        hidden = functional.dropout(rows[:, :2], 0.5, self.training)[:, 0]
        return self.head(self.late(self.site(hidden).relu()))


CHAINS = {
    "dropout": lambda **more: Chain(nn.Dropout(0.5), maps=False, **more),
    "dropout in place": lambda **more: Chain(nn.Dropout(0.5, inplace=True), maps=False, **more),
    "dropout2d, flatten": lambda **more: Chain(nn.Dropout2d(0.5), **more),
    "feature alpha dropout": lambda **more: Chain(nn.FeatureAlphaDropout(0.5), **more),
    "alpha dropout": lambda **more: Chain(nn.AlphaDropout(0.5), maps=False, **more),
    "two with identity": lambda **more: Chain(nn.Dropout2d(0.3), nn.Identity(), nn.Dropout(0.3), **more),
    "reshaped": lambda **more: Chain(nn.Flatten(), nn.Unflatten(1, (4, 8)), nn.Dropout1d(0.5), **more),
    "closed": lambda **more: Chain(nn.Sequential(nn.Flatten(), nn.Linear(32, 32), nn.ReLU(), nn.Dropout(0.5)), **more),
    "neck": lambda **more: Chain(Neck(), maps=False, **more),
    "neck in training": lambda **more: Chain(NeckInTraining(), maps=False, **more),
    "nested": lambda **more: Chain(Nested(), maps=False, **more),
    "stochastic depth": lambda **more: Chain(StochasticDepth(0.5, "row"), **more),
    "drop block": lambda **more: Chain(DropBlock2d(0.5, 1), **more),
    "timm's drop block": lambda **more: Chain(TimmDropBlock(0.5, 1), **more),
    "timm's drop path": lambda **more: Chain(DropPath(0.5), **more),
    "own drop path": lambda **more: Chain(OwnDropPath(), **more),
    "function": lambda **more: ByFunction(lambda x, on: functional.dropout(x.flatten(1), 0.5, on), **more),
    "function, view": lambda **more: ByFunction(
        lambda x, on: functional.dropout2d(x, 0.5, training=on).view(x.size(0), -1), **more
    ),
    "function, permuted": lambda **more: ByFunction(
        lambda x, on: functional.feature_alpha_dropout(x.permute(0, 2, 3, 1), 0.5, on).reshape(x.shape[0], -1), **more
    ),
    "torch.dropout": lambda **more: ByFunction(lambda x, on: torch.dropout(torch.flatten(x, 1), 0.5, on), **more),
    "in training alone": lambda **more: ByFunction(in_training_alone, **more),
    "stochastic depth by function": DepthByFunction,
    "a token selected": Selecting,
}


def images():
    return torch.randn(COUNT, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


def varies(function):
    return any(not torch.equal(function(), function()) for _ in range(4))


@pytest.mark.parametrize("name", CHAINS)
def test_before_a_site_it_is_off_while_masks_are_learned(name):
    backbone = CHAINS[name]()
    net = masked(copy.deepcopy(backbone), 2, sites=["site", "head"], image_size=SIDE, initialisation=200.0).train()
    domains = torch.tensor([0, 1] * (COUNT // 2))
    with torch.no_grad():
        for _ in range(3):
            torch.testing.assert_close(net(images(), domains), backbone.eval()(images()))
        net.eval()
        torch.testing.assert_close(net.domain_logits(images())[1], backbone(images()))


@pytest.mark.parametrize("name", CHAINS)
def test_it_is_not_part_of_the_features_but_drawn_with_each_step_of_t(name):
    backbone = CHAINS[name]().train()
    backbone.late.p = 0.0
    net = Network(copy.deepcopy(backbone), "site", image_size=SIDE).train()
    with torch.no_grad():
        features = net.features(images())
        assert torch.equal(features, net.eval().features(images())), "what is frozen is what training sees"
        net.train()
        assert varies(lambda: net.task(features))
        torch.manual_seed(3)
        expected = backbone(images())
        torch.manual_seed(3)
        torch.testing.assert_close(net(images()), expected)
        assert torch.equal(net.pooled(features), net.eval().pooled(features))
        assert net.pooled(features).shape == (COUNT, 32)


@pytest.mark.parametrize("name", ["dropout", "dropout2d, flatten", "closed"])
@pytest.mark.parametrize("kept", [False, True])
def test_that_of_the_features_stays(name, kept):
    net = masked(CHAINS[name](early=0.5), 2, sites=["site"], image_size=SIDE, dropout_in_task=kept).train()
    assert net.network.early.training
    assert varies(lambda: net.features(images()))
    assert net.network.late.training is kept
    assert net.eval().train().network.late.training is kept
    assert copy.deepcopy(net).network.late.training is kept
    assert nn.Sequential(net).eval().train()[0].network.late.training is kept
    assert not net.eval().network.early.training


def test_one_module_may_be_of_both():
    class Shared(Chain):
        def forward(self, images):
            hidden = self.late(self.mix(self.late(self.stem(images)))).flatten(1)
            return self.head(self.late(self.site(hidden)))

    net = masked(Shared(), 2, sites=["site"], image_size=SIDE, initialisation=200.0).train()
    features, domains = net.features(images()), torch.zeros(COUNT, dtype=torch.long)
    assert varies(lambda: net.features(images()))
    assert torch.equal(net.task(features, domains), net.task(features, domains))
    kept = masked(Shared(), 2, sites=["site"], image_size=SIDE, initialisation=200.0, dropout_in_task=True).train()
    assert varies(lambda: kept.task(features, domains))


class Attention(nn.Module):
    """Torch's attention by its function, as in timm, on tokens (N, T, C)."""

    def __init__(self, dim):
        super().__init__()
        self.mix = nn.Linear(dim, 3 * dim)
        self.attn_drop = nn.Dropout(0.5)

    def forward(self, tokens):
        parts = self.mix(tokens).chunk(3, -1)
        return functional.scaled_dot_product_attention(*parts, dropout_p=self.attn_drop.p if self.training else 0.0)


class AttentionByPosition(nn.Module):
    """The same with its dropout by position."""

    def __init__(self, dim):
        super().__init__()
        self.layer, self.p = nn.Linear(dim, 3 * dim), 0.5

    def forward(self, tokens):
        query, key, value = self.layer(tokens).chunk(3, -1)
        return functional.scaled_dot_product_attention(query, key, value, None, self.p if self.training else 0.0)


class Positional(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.layer, self.p = nn.Linear(dim, dim), 0.5

    def forward(self, tokens):
        return functional.dropout(
            self.layer(tokens),
            p=(self.p),
            training=self.training,
        )


class OnlyIfTraining(Positional):
    def forward(self, tokens):
        hidden = self.layer(tokens)
        if self.training and self.p > 0:
            hidden = functional.dropout(hidden, self.p)
        return hidden + tokens


class MultiHeadAttention(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.attention = nn.MultiheadAttention(dim, 2, dropout=0.5, batch_first=True)

    def forward(self, tokens):
        return tokens + self.attention(tokens, tokens, tokens, need_weights=False)[0]


INSIDE = {
    "attention": Attention,
    "attention by position": AttentionByPosition,
    "positional": Positional,
    "only if training": OnlyIfTraining,
    "multi-head attention": MultiHeadAttention,
    "encoder layer": lambda dim: nn.TransformerEncoderLayer(dim, 2, 16, dropout=0.5, batch_first=True),
    "one layer of a recurrent network": lambda dim: nn.Sequential(nn.Linear(dim, dim), nn.Dropout1d(0.5)),
    "drop path": lambda dim: nn.Sequential(nn.Linear(dim, dim), DropPath(0.5)),
}


class Tokens(nn.Module):
    def __init__(self, block):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 4, stride=4)
        self.block = block
        self.head = nn.Linear(8, 5)

    def forward(self, images):
        return self.head(self.block(self.stem(images).flatten(2).transpose(1, 2)).mean(1))


@pytest.mark.parametrize("name", INSIDE)
@pytest.mark.parametrize("sites", [["block", "head"], ["block.layer", "head"]])
def test_within_t_it_is_off_wherever_it_is_written(name, sites):
    block = INSIDE[name](8)
    if sites[0] not in dict(Tokens(block).named_modules()):
        pytest.skip("has no such layer")
    net = masked(Tokens(block), 2, sites=sites, image_size=SIDE, initialisation=200.0).train()
    domains = torch.zeros(COUNT, dtype=torch.long)
    assert not varies(lambda: net(images(), domains))
    assert net.network.training
    kept = masked(Tokens(block), 2, sites=sites, image_size=SIDE, initialisation=200.0, dropout_in_task=True).train()
    assert varies(lambda: kept(images(), domains))


def test_recurrent_dropout_that_cannot_be_switched_off_is_refused():
    class Recurrent(Tokens):
        def forward(self, images):
            return self.head(self.block(self.stem(images).flatten(2).transpose(1, 2))[0][:, -1])

    block = nn.GRU(8, 8, 2, batch_first=True, dropout=0.5)
    with pytest.raises(InputError, match=r"block has dropout between its recurrent layers.*set its dropout to 0"):
        masked(Recurrent(block), 2, sites=["block"], image_size=SIDE)
    masked(Recurrent(block), 2, sites=["head"], image_size=SIDE)
    masked(Recurrent(block), 2, sites=["block"], image_size=SIDE, dropout_in_task=True)


def test_a_batch_size_that_passes_dropout_by_is_explained():
    class BatchSize(Chain):
        def forward(self, images):
            count = images.shape[0]
            return self.head(self.site(functional.dropout2d(self.before(images), 0.5, self.training).view(count, -1)))

    with pytest.raises(InputError, match=r"Dropout directly before it belongs to the task network; .*x\.flatten\(1\)"):
        Network(BatchSize(), "site", image_size=SIDE)


def test_by_its_function_it_is_off_with_masks_and_follows_the_mode_without():
    net = masked(FunctionalDropout(), 2, sites=["second", "out"], image_size=8, initialisation=200.0).train()
    domains = torch.zeros(COUNT, dtype=torch.long)
    assert not varies(lambda: net(images(), domains))
    assert varies(
        lambda: masked(
            net.network, 2, sites=["second", "out"], image_size=8, initialisation=200.0, dropout_in_task=True
        ).train()(images(), domains)
    )


def test_what_ends_in_dropout():
    assert ends_in_dropout(nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5))) == {""}
    assert ends_in_dropout(Nested()) == {"", "necks", "necks.1"}
    assert ends_in_dropout(nn.Sequential(nn.Dropout(0.5), nn.Linear(2, 2))) == set()
    assert ends_in_dropout(nn.TransformerEncoderLayer(8, 2)) == set()

    class Undecided(nn.Module):
        def forward(self, inputs):
            return inputs if inputs.sum() > 0 and random.random() < 2 else functional.dropout(inputs)

    assert ends_in_dropout(Undecided()) == set()


@pytest.mark.parametrize(
    ("name", "boundary", "before"),
    [("alexnet", "classifier.1", "classifier.0"), ("small", "classifier.head", "classifier.dropout")],
)
def test_of_the_networks_by_name(name, boundary, before):
    net = Network(build_backbone(name, 4), boundary, image_size=64)
    assert net._segments[True].in_task(before)
    assert net.boundary == boundary
