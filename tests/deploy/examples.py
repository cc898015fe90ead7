"""Networks in which a masked input meets every kind of layer, and named ones with masks spread around 0.5."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from domain_masks.methods import Method
from domain_masks.methods.base import Context
from domain_masks.methods.method_builder import build_method
from domain_masks.methods.settings import method_settings
from domain_masks.networks import MaskedNetwork, build_backbone, masked
from domain_masks.records.model_card import ModelCard

SOURCES = ("ink", "paper", "outline")
CLASSES = ("circle", "square", "star", "line", "dot")


class Sequence(nn.Module):
    """Convolutions, what is given, and a linear layer on the means of the channels."""

    def __init__(self, *site: nn.Module, channels: int = 6, outputs: int = 6) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU())
        self.site = nn.Sequential(*site)
        self.head = nn.Linear(outputs, 5)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.site(self.stem(images)).mean((2, 3)))


class Residual(nn.Module):
    """A block whose input also takes the identity path."""

    def __init__(self, channels: int = 6) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, 2 * channels, 3, padding=1)
        self.norm = nn.BatchNorm2d(2 * channels)
        self.second = nn.Conv2d(2 * channels, channels, 1)

    def forward(self, inputs: Tensor) -> Tensor:
        return functional.relu(self.second(functional.relu(self.norm(self.first(inputs)))) + inputs)


class Twice(nn.Module):
    """A layer that is called for the masked input and once more."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(6, 6, 1)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.layer(self.layer(inputs))


class Branches(nn.Module):
    """Two branches side by side, one through a pool, put one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Conv2d(6, 4, 1)
        self.right = nn.Sequential(nn.MaxPool2d(3, 1, padding=1), nn.Conv2d(6, 2, 3, padding=1))

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.cat([self.left(inputs), self.right(inputs)], 1)


class Standardized(nn.Conv2d):
    """A convolution that makes its weights independent of their scale, as timm's ``StdConv2d`` does."""

    def forward(self, input: Tensor) -> Tensor:
        weight = self.weight / self.weight.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        return self._conv_forward(input, weight, self.bias)


class Plain(nn.Conv2d):
    """A subclass of a convolution that is one all the same."""


class Positions(nn.Module):
    """Convolution, flattened by a view, two linear layers: like AlexNet."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(2))
        self.hidden = nn.Linear(20, 16)
        self.head = nn.Linear(16, 5)

    def forward(self, images: Tensor) -> Tensor:
        pooled = self.features(images)
        return self.head(functional.relu(self.hidden(pooled.view(pooled.size(0), -1))))


class Closed(nn.Module):
    """A module that torch.fx cannot look into."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(6, 6, 1)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.layer(inputs) if inputs.sum() > 0 else self.layer(-inputs)


def convolution(**options: object) -> nn.Conv2d:
    return nn.Conv2d(6, 6, 3, padding=1, **options)  # type: ignore[arg-type]


# Whether the mask at ``site`` is folded, and the layers behind the masked input.
FOLDED: dict[str, tuple[nn.Module, ...]] = {
    "convolution": (convolution(),),
    "reflected padding": (convolution(padding_mode="reflect"),),
    "circular padding": (convolution(padding_mode="circular"),),
    "replicated padding": (convolution(padding_mode="replicate"),),
    "stride and dilation": (nn.Conv2d(6, 6, 3, stride=2, dilation=2),),
    "depthwise": (convolution(groups=6), nn.ReLU6(), nn.Conv2d(6, 6, 1)),
    "depthwise, two outputs each": (nn.Conv2d(6, 12, 3, groups=6), nn.Conv2d(12, 6, 1)),
    "grouped": (convolution(groups=2), nn.Conv2d(6, 6, 1)),
    "batch norm": (nn.BatchNorm2d(6), nn.SiLU(), nn.Conv2d(6, 6, 1)),
    "batch norm without weights": (nn.BatchNorm2d(6, affine=False), nn.Conv2d(6, 6, 1)),
    "ReLU": (nn.ReLU(), nn.Dropout2d(0.5), nn.Conv2d(6, 6, 1)),
    "pools": (nn.MaxPool2d(2), nn.LeakyReLU(0.2), nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(2), nn.Conv2d(6, 6, 1)),
    "branches": (Branches(), nn.Conv2d(6, 6, 1)),
    "subclass": (Plain(6, 6, 1),),
}
SCALED: dict[str, tuple[nn.Module, ...]] = {
    "residual": (Residual(),),
    "ReLU6": (nn.ReLU6(), nn.Conv2d(6, 6, 1)),
    "sigmoid": (nn.Sigmoid(), nn.Conv2d(6, 6, 1)),
    "batch norm without statistics": (nn.BatchNorm2d(6, track_running_stats=False), nn.Conv2d(6, 6, 1)),
    "layer called twice": (Twice(),),
    "standardised weights": (Standardized(6, 6, 3),),
    "closed box": (Closed(),),
    "instance norm": (nn.InstanceNorm2d(6), nn.Conv2d(6, 6, 1)),
}
NAMED = {
    "small": 32,
    "resnet18": 64,
    "resnet50": 64,
    "mobilenet_v2": 64,
    "mobilenet_v3_small": 64,
    "efficientnet_b0": 64,
    "shufflenet_v2_x0_5": 64,
    "squeezenet1_1": 64,
    "alexnet": 64,
    "vgg11": 32,
    "densenet121": 64,
    "googlenet": 64,
    "inception_v3": 96,
    "convnext_tiny": 64,
    "swin_t": 64,
    "vit_b_16": 224,
    "timm:resnet18": 64,
    "timm:mobilenetv3_small_050": 64,
    "timm:convnext_atto": 64,
    "timm:vit_tiny_patch16_224": 224,
}
LIGHT = ("small", "resnet18", "mobilenet_v2")


def normalised(backbone: nn.Module, size: int) -> nn.Module:
    """Give batch norms statistics: without, a deep untrained network forgets its images on the way to the logits."""
    norms = [module for module in backbone.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.momentum = 1.0
        if norm.affine:
            nn.init.uniform_(norm.bias, -0.2, 0.2)
    if norms:
        with torch.no_grad():
            backbone.train()(torch.randn(4, 3, size, size))
    return backbone


def spread_masks(net: MaskedNetwork) -> MaskedNetwork:
    with torch.no_grad():
        for logits in net.masks.parameters():
            logits.normal_(0, 2)
    return net.eval()


def around(backbone: nn.Module, sites: tuple[str, ...], size: int) -> MaskedNetwork:
    torch.manual_seed(0)
    return spread_masks(masked(normalised(backbone, size), 3, sites=sites, image_size=size))


def named(name: str, sites: tuple[str, ...] = ()) -> MaskedNetwork:
    torch.manual_seed(0)
    return around(build_backbone(name, len(CLASSES)), sites, NAMED[name])


def method(name: str = "dmg", backbone: str = "small", size: int = 32, **settings: object) -> Method:
    torch.manual_seed(0)
    context = Context(SOURCES, CLASSES, image_size=size)
    network = normalised(build_backbone(backbone, len(CLASSES)), size)
    built = build_method(name, network, context, method_settings(name, settings)).eval()
    if isinstance(built.network, MaskedNetwork):
        spread_masks(built.network)
    return built


def card(size: int = 32, backbone: str = "small", **changes: Any) -> ModelCard:
    known = {
        "classes": list(CLASSES),
        "sources": list(SOURCES),
        "targets": ["mosaic"],
        "dataset": "shapes",
        "backbone": backbone,
        "image_size": size,
        "boundary": "classifier",
        "sites": [],
        "method": {"name": "dmg"},
        "preprocessing": {"size": size, "resize": size + 4, "square": False},
    }
    return ModelCard.model_validate(known | changes)


def one_mask(net: MaskedNetwork, domain: int = 1) -> dict[str, Tensor]:
    return {site: mask[domain].detach() for site, mask in net.masks.probabilities().items()}


def under(net: MaskedNetwork, factors: dict[str, Tensor], images: Tensor) -> Tensor:
    """What the masked network itself gives under these factors."""
    with torch.no_grad():
        return net.soft_logits(net.features(images), {site: own[None] for site, own in factors.items()})[0]


def images_for(net: MaskedNetwork, count: int = 3, seed: int = 1) -> Tensor:
    return torch.randn(count, 3, net.image_size, net.image_size, generator=torch.Generator().manual_seed(seed))
