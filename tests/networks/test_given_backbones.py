"""A network of a program: its name, its number of outputs, and what is refused."""

from __future__ import annotations

import functools

import pytest
import torch
from torch import nn

from domain_masks.errors import InputError
from domain_masks.networks import BACKBONES, build_backbone, register_backbone


class Mine(nn.Sequential):
    def __init__(self, classes: int) -> None:
        super().__init__(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, classes))


class Fixed(Mine):
    def __init__(self) -> None:
        super().__init__(4)


def wrong(classes: int) -> int:
    return classes


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [f"{__name__}.{kind}" for kind in ("Mine", "Fixed", "wrong")]:
        monkeypatch.delitem(BACKBONES, name, raising=False)
    monkeypatch.setattr("domain_masks.networks.backbones.BACKBONES", BACKBONES)


def test_a_class_is_built_by_its_name() -> None:
    name = register_backbone(Mine)
    assert name == f"{__name__}.Mine"
    assert build_backbone(name, 6)(torch.zeros(1, 3, 8, 8)).shape == (1, 6)


def test_a_module_is_copied_with_its_weights() -> None:
    module = Mine(6)
    name = register_backbone(module)
    first, second = build_backbone(name, 6), build_backbone(name, 6)
    assert first is not second is not module
    assert all(torch.equal(own, given) for own, given in zip(first.parameters(), module.parameters(), strict=True))
    with torch.device("meta"):
        assert all(parameter.is_meta for parameter in build_backbone(name, 6).parameters())


@pytest.mark.parametrize(
    ("backbone", "message"),
    [
        (Mine(5), "has 5 outputs: expected one per class of the dataset, 6"),
        (Fixed, "expected a class or function of the number of classes"),
        (wrong, "expected a module, got int"),
    ],
)
def test_a_network_of_another_kind_is_refused_when_it_is_built(backbone: object, message: str) -> None:
    name = register_backbone(backbone)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=message):
        build_backbone(name, 6)


@pytest.mark.parametrize("backbone", [lambda classes: Mine(1 * classes), functools.partial(Mine, 3), 3])
def test_what_has_no_name_is_refused(backbone: object) -> None:
    with pytest.raises(InputError, match="expected a name, a module, or a class or named function"):
        register_backbone(backbone)  # type: ignore[arg-type]


def test_a_name_that_is_not_registered_says_what_to_do() -> None:
    with pytest.raises(InputError, match=r"BACKBONES\['elsewhere.Mine'\] to its class or function"):
        build_backbone("elsewhere.Mine", 6)
