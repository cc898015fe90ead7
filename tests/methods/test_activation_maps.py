"""Class activation maps against a computation by hand, and how masks change them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from deploy.examples import SOURCES, images_for, method
from domain_masks.batch import DomainBatch
from domain_masks.errors import InputError
from domain_masks.methods import Method
from domain_masks.methods.activation_maps import class_activation_maps
from domain_masks.methods.base import PREDICTIONS, known
from domain_masks.networks import MaskedNetwork
from domain_masks.networks.map_layer import find_map_layer

KNOWN = [known(source) for source in SOURCES]


def by_hand(built: Method, images: Tensor, classes: Tensor, ensemble: str) -> Tensor:
    """Grad-CAM by a hook and autograd, image after image."""
    found = []
    name = find_map_layer(built.network).name
    for image, label in zip(images, classes, strict=True):
        kept: list[Tensor] = []

        def keep(output: Tensor, kept: list[Tensor] = kept) -> Tensor:
            kept.append(output if output.requires_grad else output.requires_grad_())
            return output

        with torch.enable_grad(), built.network.on_output(name, keep):
            logits = built.predict(DomainBatch(image[None], None, None, torch.zeros(1, dtype=torch.int64)))[ensemble]
            (gradient,) = torch.autograd.grad(logits[0, label], kept[0])
        # Rows of several masks, (P, K, H, W): the terms of all are added.
        cam = (gradient.mean((2, 3), keepdim=True) * kept[0]).sum((0, 1)).relu()
        found.append(functional.interpolate(cam[None, None], images.shape[-2:], mode="bilinear")[0, 0])
    return torch.stack(found).detach()


@pytest.mark.parametrize("backbone", ["small", "resnet18"])
def test_they_are_those_of_hooks_and_autograd(backbone: str) -> None:
    size = {"small": 32, "resnet18": 64}[backbone]
    built = method("dmg", backbone, size)
    assert isinstance(built.network, MaskedNetwork)
    images, classes = images_for(built.network, 10), torch.arange(10) % 5
    found = class_activation_maps(built, images, classes, [PREDICTIONS, *KNOWN])
    for name in (PREDICTIONS, *KNOWN):
        torch.testing.assert_close(found.maps[name], by_hand(built, images, classes, name), atol=1e-5, rtol=1e-3)
    assert found.maps[PREDICTIONS].shape == (10, size, size)
    assert found.maps[PREDICTIONS].amax() > 0
    with torch.no_grad():
        logits = built.predict(DomainBatch(images, None, None, torch.arange(10)))[KNOWN[0]]
    torch.testing.assert_close(found.probabilities[KNOWN[0]], logits.softmax(1)[torch.arange(10), classes])


def test_another_mask_is_another_map_and_an_equal_mask_the_same() -> None:
    built = method("dmg")
    assert isinstance(built.network, MaskedNetwork)
    images, classes = images_for(built.network, 3), torch.zeros(3, dtype=torch.int64)
    found = class_activation_maps(built, images, classes, KNOWN).maps
    assert not torch.allclose(found[KNOWN[0]], found[KNOWN[1]], rtol=0.05)
    with torch.no_grad():
        for logits in built.network.masks.parameters():
            logits[1] = logits[0]
    same = class_activation_maps(built, images, classes, KNOWN).maps
    torch.testing.assert_close(same[KNOWN[0]], same[KNOWN[1]])
    torch.testing.assert_close(same[KNOWN[0]], found[KNOWN[0]])


def test_a_map_is_where_the_channel_is() -> None:
    built = method("aggregate")
    network = built.network.network
    with torch.no_grad():
        for parameter in (network.classifier.hidden.weight, network.classifier.head.weight):
            parameter.abs_()
    images = torch.zeros(1, 3, 32, 32)
    images[:, :, :16, :16] = 4.0
    found = class_activation_maps(built, images, torch.zeros(1, dtype=torch.int64), [PREDICTIONS])
    assert list(found.maps) == [PREDICTIONS]
    heat = found.maps[PREDICTIONS][0]
    assert heat[:12, :12].mean() > 1.5 * heat[20:, 20:].mean()


@pytest.mark.parametrize("name", ["multi_headed", "dsbn", "lora"])
def test_other_parameters_of_a_source_have_maps_of_their_own(name: str) -> None:
    built = method(name)
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    found = class_activation_maps(built, images, torch.zeros(2, dtype=torch.int64), [PREDICTIONS, *KNOWN])
    assert set(found.maps) == {PREDICTIONS, *KNOWN}


def test_predictions_without_a_gradient_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    built = method("aggregate")
    predict = built.predict
    monkeypatch.setattr(built, "predict", lambda batch: {name: x.detach() for name, x in predict(batch).items()})
    with pytest.raises(InputError, match="'aggregate' have no gradient"):
        class_activation_maps(built, torch.zeros(1, 3, 32, 32), torch.zeros(1, dtype=torch.int64), [PREDICTIONS])
