"""What a network is besides its tensors: recorded as data, rebuilt from it, compared by it."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import timm
import torch
from torch import nn
from torchvision import models

from domain_masks.errors import InputError
from domain_masks.methods.base import Context
from domain_masks.methods.method_builder import build_method
from domain_masks.methods.saving import network_of
from domain_masks.methods.settings import method_settings
from domain_masks.networks import (
    Architecture,
    architecture_of,
    build_architecture,
    build_backbone,
    differing,
    preparation_of,
    signature,
    signature_digest,
)
from domain_masks.records.model_card import ModelCard


@pytest.mark.parametrize(
    ("name", "weights", "expected"),
    [
        ("googlenet", "imagenet", {"aux_logits": False, "transform_input": True}),
        ("googlenet", "none", {"aux_logits": False, "transform_input": False}),
        ("inception_v3", "imagenet", {"aux_logits": False, "transform_input": True}),
        ("vit_h_14", "imagenet", {"image_size": 518}),
        ("vit_b_16", "imagenet", {}),
        ("maxvit_t", "imagenet", {}),
        ("resnet18", "imagenet", {}),
        ("timm:fbnetc_100", "imagenet", {"as_pretrained": True}),
        ("timm:fbnetc_100", "none", {}),
        ("timm:resnet18", "imagenet", {}),
        ("small", "none", {}),
    ],
)
def test_what_weights_ask_of_a_network(name: str, weights: str, expected: dict[str, Any]) -> None:
    architecture = architecture_of(name, weights)
    assert dict(architecture.arguments) == expected
    assert Architecture.from_dict(architecture.to_dict()) == architecture


def test_the_tag_of_timms_weights_is_noted() -> None:
    assert architecture_of("timm:resnet18").name == timm.models.get_pretrained_cfg("resnet18").to_dict()[
        "architecture"
    ] + ("." + timm.models.get_pretrained_cfg("resnet18").tag)


def test_fbnet_is_rebuilt_with_the_epsilon_of_its_weights() -> None:
    rebuilt = build_architecture(Architecture("timm", "fbnetc_100", {"as_pretrained": True}), 3)
    assert rebuilt.bn1.eps == 1e-3
    assert build_architecture(Architecture("timm", "fbnetc_100"), 3).bn1.eps == 1e-5
    assert "state_dict" not in rebuilt.pretrained_cfg


@pytest.mark.parametrize(
    "values",
    [
        5,
        {},
        {"builder": "torchvision", "name": "resnet18"},
        {"builder": "hub", "name": "resnet18", "arguments": {}},
        {"builder": "torchvision", "name": "resnet18", "arguments": {"weights": "DEFAULT"}},
        {"builder": "timm", "name": "resnet18", "arguments": {"pretrained": True}},
        {"builder": "timm", "name": "resnet18", "arguments": {"as_pretrained": 1}},
        {"builder": "torchvision", "name": "vit_b_16", "arguments": {"image_size": 10**9}},
        {"builder": "torchvision", "name": "vit_b_16", "arguments": {"image_size": True}},
    ],
)
def test_descriptions_that_can_be_none_are_refused(values: Any) -> None:
    with pytest.raises(InputError, match="expected network as builder"):
        Architecture.from_dict(values)


def block(**options: Any) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3, **options), nn.BatchNorm2d(4), nn.ReLU())


def with_activation(activation: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), activation)


class Scaled(nn.Module):
    def __init__(self, factor: Any) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs * self.factor


class Functional(nn.Module):
    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.function(inputs)
        return result


def hooked() -> nn.Module:
    network = block()
    network.register_forward_hook(lambda _module, _inputs, output: 2 * output)
    return network


def edited() -> nn.Module:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.factor = 2

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return inputs + self.factor

    Scaled.__qualname__, Scaled.__module__ = "Scaled", __name__
    return Scaled()


PAIRS = [
    (block(), block(padding=1)),
    (block(padding=1), block(padding=1, padding_mode="reflect")),
    (block(), block(stride=2)),
    (block(), block(dilation=2)),
    (block(), with_activation(nn.GELU())),
    (with_activation(nn.GELU()), with_activation(nn.GELU("tanh"))),
    (with_activation(nn.LeakyReLU(0.1)), with_activation(nn.LeakyReLU(0.2))),
    (nn.BatchNorm2d(4), nn.BatchNorm2d(4, eps=1e-3)),
    (nn.BatchNorm2d(4), nn.BatchNorm2d(4, momentum=0.01)),
    (nn.LayerNorm(4), nn.LayerNorm(4, eps=1e-6)),
    (nn.GroupNorm(2, 4), nn.GroupNorm(4, 4)),
    (nn.MaxPool2d(2), nn.MaxPool2d(2, ceil_mode=True)),
    (nn.Upsample(scale_factor=2), nn.Upsample(scale_factor=2, mode="bilinear")),
    (Scaled(2), Scaled(3)),
    (Scaled(2.0), Scaled(2.5)),
    (Functional(torch.relu), Functional(torch.tanh)),
    (Functional(partial(torch.clamp, max=1)), Functional(partial(torch.clamp, max=6))),
    (Functional(lambda x: x + 1), Functional(lambda x: x + 2)),
    (block(), hooked()),
    (Scaled(2), edited()),
    (models.googlenet(init_weights=False, aux_logits=False), None),
]


@pytest.mark.parametrize("pair", PAIRS, ids=range(len(PAIRS)))
def test_functions_that_share_all_tensors_have_other_signatures(pair: tuple[nn.Module, nn.Module | None]) -> None:
    one, other = pair
    if other is None:
        other = models.googlenet(init_weights=False, aux_logits=False, transform_input=True)
    assert one.state_dict().keys() == other.state_dict().keys()
    assert differing(one, other)
    assert signature_digest(one) != signature_digest(other)


@pytest.mark.parametrize(
    "make",
    [
        block,
        models.shufflenet_v2_x0_5,
        lambda: timm.create_model("levit_128s", num_classes=3),
        lambda: timm.create_model("mobilenetv3_small_050", num_classes=3),
        lambda: Functional(partial(torch.clamp, max=1)),
    ],
)
def test_one_function_has_one_signature(make: Any) -> None:
    """Whatever its weights, mode, device and what it has computed so far."""
    one = make()
    with torch.device("meta"):
        other = make()
    one.eval()
    size = getattr(one, "pretrained_cfg", {"input_size": (3, 64, 64)})["input_size"][-1]
    with torch.no_grad():
        one(torch.randn(2, 3, size, size))
    assert signature(one) == signature(other)
    assert signature_digest(one) == signature_digest(other)


def test_the_signature_is_that_of_a_part_where_it_is_asked_for() -> None:
    one, other = models.resnet18(num_classes=3), models.resnet18(num_classes=3)
    other.fc = nn.Linear(512, 9)
    inner = lambda name: not name.startswith("fc")  # noqa: E731
    assert signature_digest(one, inner) == signature_digest(other, inner)
    assert signature_digest(one) != signature_digest(other)


def test_the_names_of_timm_with_equal_tensors() -> None:
    one, other = timm.create_model("mobilenetv3_small_100"), timm.create_model("tf_mobilenetv3_small_100")
    assert {name: value.shape for name, value in one.state_dict().items()} == {
        name: value.shape for name, value in other.state_dict().items()
    }
    assert "conv_stem" in differing(one, other)


@pytest.mark.parametrize(
    ("library", "name", "weights", "expected"),
    [
        (
            "timm",
            "vit_tiny_patch16_224.augreg_in21k_ft_in1k",
            "imagenet",
            (224, 248, (0.5,) * 3, (0.5,) * 3, "bicubic"),
        ),
        (
            "timm",
            "vit_base_patch16_clip_224.openai_ft_in1k",
            "imagenet",
            (224, None, (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711), "bicubic"),
        ),
        ("torchvision", "resnet18", "imagenet", (224, 256, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "bilinear")),
        ("torchvision", "swin_t", "imagenet", (224, 232, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "bicubic")),
        (
            "torchvision",
            "inception_v3",
            "imagenet",
            (299, 342, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "bilinear"),
        ),
        (
            "torchvision",
            "resnet50",
            "/nowhere/resnet50-11ad3fa6.pth",
            (224, 232, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "bilinear"),
        ),
        ("torchvision", "resnet50", "/nowhere/mine.pth", (None,) * 5),
        ("own", "small", "none", (None,) * 5),
    ],
)
def test_how_images_were_prepared(library: Any, name: str, weights: str, expected: tuple[Any, ...]) -> None:
    known = preparation_of(library, name, weights)
    got = (known.size, known.resize, known.mean, known.std, known.interpolation)
    assert all(wanted is None or wanted == value for wanted, value in zip(expected, got, strict=True))
    if weights.endswith("mine.pth"):
        assert got == (None,) * 5
        assert not known.is_certain


def test_what_timm_wrote_beside_a_file_counts(tmp_path: Any) -> None:
    text = '{"architecture": "resnet18", "pretrained_cfg": {"mean": [0.1, 0.2, 0.3], "std": [0.5, 0.5, 0.5], "crop_pct": 1}}'
    (tmp_path / "config.json").write_text(text)
    known = preparation_of("timm", "resnet18", tmp_path / "model.safetensors")
    assert (known.mean, known.std, known.is_certain) == ((0.1, 0.2, 0.3), (0.5,) * 3, True)
    (tmp_path / "config.json").write_text("[" * 100_000)
    known = preparation_of("timm", "resnet18", tmp_path / "model.safetensors")
    assert known.mean == (0.485, 0.456, 0.406)
    assert not known.is_certain


def described(**known: Any) -> ModelCard:
    least = {
        "classes": ["a", "b"],
        "sources": ["x"],
        "image_size": 16,
        "boundary": "b",
        "sites": [],
        "method": {"name": "dmg"},
    }
    return ModelCard.model_validate(least | known)


@pytest.mark.parametrize(
    ("card", "transforms"),
    [
        ({"backbone": "googlenet", "training": {"weights": "imagenet"}}, True),
        ({"backbone": "googlenet", "training": {"weights": "mine.pth"}}, False),
        ({"backbone": "googlenet"}, False),
        (
            {
                "backbone": "googlenet",
                "network": {"builder": "torchvision", "name": "googlenet", "arguments": {"transform_input": True}},
            },
            True,
        ),
    ],
)
def test_older_descriptions_mean_what_was_trained(card: dict[str, Any], transforms: bool) -> None:
    assert network_of(described(**card)).arguments["transform_input"] is transforms


def test_a_description_of_another_network_than_its_name_is_refused() -> None:
    network = Architecture("torchvision", "resnet18").to_dict()
    with pytest.raises(InputError, match="expected the network of backbone 'resnet50', got 'resnet18'"):
        network_of(described(backbone="resnet50", network=network))
    tagged = Architecture("timm", "resnet18.a1_in1k").to_dict()
    assert network_of(described(backbone="timm:resnet18", network=tagged)).name == "resnet18.a1_in1k"


@pytest.mark.parametrize(("name", "size"), [("mobilenet_v2", 64), ("alexnet", 64), ("resnet18", 64), ("small", 28)])
def test_features_are_those_of_one_function_whatever_the_method(name: str, size: int) -> None:
    digests = set()
    for method in ("aggregate", "dmg", "multi_headed"):
        context = Context(("a", "b"), ("cat", "dog"), image_size=size)
        with torch.device("meta"):
            backbone = build_backbone(name, 2, "none")
        backbone = backbone.to_empty(device="cpu")
        network = build_method(method, backbone, context, method_settings(method, {})).network
        digests.add(signature_digest(network.network, network.in_features))
    assert len(digests) == 1
