"""Changing what a module gives: called as a module, or looked into by the division."""

import copy
import pickle

import pytest
import torch
from torch import nn

from domain_masks.errors import InputError
from domain_masks.networks import MaskedNetwork, MultiHeadNetwork, Network, RepresentedNetwork, build_backbone
from references.networks import FunctionalDropout, OwnNetwork, PassedBy

PLACES = [
    ("small", 32, "classifier.head", ()),
    ("small", 32, "features.block2", ("features.block3", "classifier.head")),
    ("own", 16, "stage.1", ("neck",)),
    ("own", 16, "stem", ("stage.2", "out")),
    ("resnet18", 32, "layer4.1", ("layer4.1", "fc")),
    ("mobilenet_v2", 32, "features.17", ("features.17", "classifier.1")),
    ("timm:convnext_atto", 32, "stages.3.blocks.1", ("stages.3.blocks.1", "head.fc")),
    ("timm:vit_tiny_patch16_224", 32, "blocks.11", ("blocks.11",)),
]


def build(name, size=32):
    torch.manual_seed(0)
    if name == "own":
        return OwnNetwork()
    if name.startswith("timm:vit"):
        import timm  # noqa: PLC0415

        return timm.create_model(name.removeprefix("timm:"), num_classes=5, img_size=size, depth=12, embed_dim=24)
    return build_backbone(name, 5)


def divided(name, size, boundary, sites):
    backbone = build(name, size)
    if not sites:
        return Network(backbone, boundary, image_size=size)
    return MaskedNetwork(backbone, 3, sites, boundary, size, initialisation=30.0, dropout_in_task=True)


def images_of(size, count=4):
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))


def change(output):
    return 0.5 * output.flip(0) + output.mean() + 0.1


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(("name", "size", "boundary", "sites"), PLACES)
def test_every_module_is_changed_as_by_a_hook_on_the_bare_network(name, size, boundary, sites, training):
    """Masks of ones leave the bare network, whose forward hooks say what is right, for every module that they reach."""
    net = divided(name, size, boundary, sites).train(training)
    bare = copy.deepcopy(net.network).train(training)
    images, domains = images_of(size), torch.tensor([0, 1, 2, 0])
    noise = {"noise": {site.name: torch.zeros(4, site.size) for site in net.sites}} if sites else {}
    opened = net._segments[True].opened
    names = [name for name, _ in bare.named_modules() if name]
    chosen = {*opened, *names[:: max(1, len(names) // 6)], boundary, *sites}
    changed = 0
    for module in sorted(chosen):
        state = {key: value.clone() for key, value in net.state_dict().items()}
        calls = []
        hook = bare.get_submodule(module).register_forward_hook(
            lambda _module, _inputs, output, calls=calls: calls.append(1) or change(output)
        )
        torch.manual_seed(3)
        with torch.no_grad():
            expected = bare(images)
        hook.remove()
        if not calls:
            continue
        torch.manual_seed(3)
        with torch.no_grad(), net.on_output(module, change):
            got = net.task(net.features(images), domains, **noise)
        net.load_state_dict(state)
        bare.load_state_dict(net.network.state_dict())
        if not sites:
            assert torch.equal(got, expected), module
        else:
            torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4, msg=module)
        changed += 1
    assert changed > 2
    assert any(module in chosen for module in opened) or "." not in boundary
    with torch.no_grad():
        net.eval(), bare.eval()
        torch.testing.assert_close(net(images, domains), bare(images), rtol=1e-4, atol=1e-4)


def test_changes_can_be_nested_and_are_taken_in_order():
    net = divided("small", 32, "classifier.head", ()).eval()
    images = images_of(32)
    plain = net(images)
    with net.on_output("classifier", lambda output: 2 * output):
        with net.on_output("classifier", lambda output: output + 1), net.on_output("classifier.head", lambda x: x - 3):
            torch.testing.assert_close(net(images), 2 * (plain - 3) + 1)
        torch.testing.assert_close(net(images), 2 * plain)
    assert torch.equal(net(images), plain)


def test_gradients_flow_through_what_is_changed():
    net = divided("small", 32, "features.block2", ("features.block3", "classifier.head"))
    images, domains = images_of(32), torch.tensor([0, 1, 2, 0])
    weight = torch.ones((), requires_grad=True)
    with net.on_output("features", lambda output: weight * output):
        net(images, domains).sum().backward()
    assert weight.grad is not None
    assert net.network.get_parameter("features.block1.0.weight").grad.any()


def test_every_way_to_run_the_network_is_changed():
    torch.manual_seed(0)
    images, domains = images_of(16), torch.full((4,), 2)
    heads = MultiHeadNetwork(OwnNetwork(), 3, "out", "stage", image_size=16).eval()
    masked = MaskedNetwork(OwnNetwork(), 3, ["stage.2", "out"], "stage.1", 16).eval()
    for net in (heads, masked):
        for module in ("stem", "stage", "out"):
            with net.on_output(module, lambda output: 0 * output):
                changed = [
                    net(images),
                    net(images, domains),
                    net.domain_logits(images),
                    net.call("network", {}, images),
                ]
            for logits in changed:
                assert torch.allclose(logits, logits[..., :1, :].expand_as(logits), atol=1e-6), module
    with masked.on_output("stem", lambda output: 0 * output):
        features = masked.frozen_features(images)
    assert torch.equal(features, features[:1].expand_as(features))


def test_what_is_compiled_is_changed_too(monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda function, **_: lambda *inputs: function(*inputs) * 0)
    net = divided("small", 32, "classifier.head", ()).eval()
    images = images_of(32)
    plain = net(images)
    net.compile_segments()
    assert not net(images).any()
    assert not net.frozen_features(images).any()
    for module in ("classifier", "classifier.head"):
        with net.on_output(module, lambda output: 2 * output):
            torch.testing.assert_close(net(images), 2 * plain)
    assert not net(images).any()


def test_a_network_that_is_divided_twice_is_changed_on_every_way():
    torch.manual_seed(0)
    net = RepresentedNetwork(build("small"), "features.block3", image_size=32).eval()
    images = images_of(32)
    for module in ("features.block2", "features", "classifier", "classifier.head"):
        with net.on_output(module, lambda output: 2 * output):
            whole, features = net(images), net.features(images)
            parts = net.classify(net.represent(features))
        assert torch.equal(parts, whole), module
        assert not torch.allclose(whole, net(images)), module
    twin = pickle.loads(pickle.dumps(net))
    assert torch.equal(twin.classify(twin.represent(features)), net.classify(net.represent(features)))


def test_dropout_that_is_left_out_leaves_the_change():
    torch.manual_seed(0)
    backbone = nn.Sequential()
    backbone.add_module("first", nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 16), nn.Dropout(0.5)))
    backbone.add_module("second", nn.Sequential(nn.Linear(16, 8), nn.ReLU()))
    backbone.add_module("last", nn.Linear(8, 5))
    net = MaskedNetwork(backbone, 2, ["second", "last"], image_size=8, initialisation=30.0).train()
    assert net.feature_shape == (16,)
    images, domains = images_of(8), torch.tensor([0, 1, 1, 0])
    with net.on_output("first", lambda output: output + 1):
        got = net(images, domains)
        features = net.features(images)
    torch.testing.assert_close(got, backbone.last(backbone.second(backbone.first[:2](images) + 1)))
    torch.testing.assert_close(features, backbone.first[:2](images))


@pytest.mark.parametrize("module", ["features", "features.block1"])
def test_copies_and_pickles_begin_without_changes(module):
    net = divided("small", 32, "features.block2", ("features.block3", "classifier.head")).eval()
    images = images_of(32)
    plain = net(images)
    with net.on_output(module, lambda output: 0 * output):
        assert not torch.allclose(net(images), plain)
        for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
            assert torch.equal(twin(images), plain)
    with twin.on_output(module, lambda output: 2 * output):
        assert not torch.equal(twin(images), plain)


@pytest.mark.parametrize(
    ("module", "run", "message"),
    [
        ("features.block9", "network", r"unknown module 'features\.block9': .* Did you mean 'features\.block"),
        ("", "network", r"unknown module ''"),
        (
            "features.block1",
            "task",
            r"'features\.block1' was not called within the block .* a pass of F, to which it belongs",
        ),
        ("classifier", "features", r"'classifier' was not called within the block .* a pass of T, to which it belongs"),
        ("classifier.head", "nothing", r"'classifier\.head' was not called"),
    ],
)
def test_a_change_that_is_never_made_is_refused(module, run, message):
    net = divided("small", 32, "classifier.head", ()).eval()
    images = images_of(32)
    features = net.features(images)
    runs = {
        "network": lambda: net(images),
        "task": lambda: net.task(features),
        "features": lambda: net.features(images),
        "nothing": lambda: None,
    }
    with pytest.raises(InputError, match=message), net.on_output(module, change):
        runs[run]()
    assert torch.equal(net.task(features), net(images))


def test_a_module_that_is_never_called_is_refused():
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(3, 1, batch_first=True)
            self.head = nn.Linear(3, 5)

        def forward(self, images):
            tokens = images.flatten(2).transpose(1, 2)
            return self.head(self.attention(tokens, tokens, tokens)[0].mean(1))

    net = Network(Attention(), "head", image_size=8).eval()
    with (
        pytest.raises(InputError, match=r"'attention\.out_proj' was not called"),
        net.on_output("attention.out_proj", change),
    ):
        net(images_of(8))


def test_a_module_that_is_looked_into_and_gives_several_tensors_is_refused():
    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.left, self.right = nn.Linear(6, 4), nn.Linear(6, 4)

        def forward(self, hidden):
            return self.left(hidden), self.right(hidden)

    class Paired(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.pair, self.head = nn.Linear(3 * 8 * 8, 6), Pair(), nn.Linear(4, 5)

        def forward(self, images):
            left, right = self.pair(self.stem(images.flatten(1)))
            return self.head(left + right)

    net = MaskedNetwork(Paired(), 2, ["pair.left", "head"], "stem", 8).eval()
    with pytest.raises(InputError, match=r"'pair' .* does not return a single tensor"), net.on_output("pair", change):
        pass
    with net.on_output("pair.left", lambda output: 0 * output):
        assert net(images_of(8)).shape == (4, 5)


def test_a_function_that_gives_nothing_is_an_error():
    net = divided("small", 32, "classifier.head", ()).eval()
    for module in ("classifier", "features.block1"):
        with (
            pytest.raises(ValueError, match=rf"module '{module}' to return the new output, got None"),
            net.on_output(module, lambda _: None),
        ):
            net(images_of(32))


@pytest.mark.parametrize(
    ("backbone", "boundary", "size"),
    [
        (lambda: build("small"), "classifier", 32),
        (lambda: build("small"), "features.block2", 32),
        (OwnNetwork, "neck", 16),
        (FunctionalDropout, "second", 8),
        (PassedBy, "head", 8),
        (lambda: build("mobilenet_v2"), "classifier", 64),
    ],
)
def test_feature_shape_is_that_of_features(backbone, boundary, size):
    net = Network(backbone(), boundary, image_size=size).train()
    state = copy.deepcopy(net.state_dict())
    shape = net.feature_shape
    assert isinstance(shape, tuple)
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())
    assert net.training
    assert shape == net.features(images_of(size)).shape[1:] == net.frozen_features(images_of(size)).shape[1:]
    assert pickle.loads(pickle.dumps(net)).feature_shape == shape


def test_feature_shape_of_other_inputs():
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.neck, self.head = nn.Embedding(9, 6), nn.Linear(6, 4), nn.Linear(4, 3)

        def forward(self, tokens, scale):
            return self.head(self.neck(self.embed(tokens) * scale[:, None]).mean(1))

    example = (torch.zeros(2, 7, dtype=torch.int64), torch.ones(2, 6))
    assert Network(Tokens(), "neck", example_input=example).feature_shape == (7, 6)
    assert Network(Tokens(), "head", example_input=example).feature_shape == (4,)


def test_feature_shape_on_the_meta_device():
    with torch.device("meta"):
        net = Network(build_backbone("mobilenet_v2", 5), "features.17", image_size=64)
    assert net.feature_shape == (160, 2, 2)
