"""Backbones that a Python program gives as a module or as a function, under a name that the run records."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import Any

from torch import nn

from domain_masks.errors import InputError
from domain_masks.networks.backbones import BACKBONES
from domain_masks.networks.presets import find_head
from domain_masks.torch_globals import default_device


def register_backbone(backbone: nn.Module | Callable[[int], nn.Module]) -> str:
    """Register a network in :data:`BACKBONES`, and return its name: ``MODULE.NAME`` of its class or function.

    - ``backbone``: a function or class that takes the number of classes C and returns a module images (N, 3, H, W) -> logits
      (N, C); or such a module, of which every network is a copy, with its present weights

    Another one of this name is replaced. A model is loaded where its name is registered: a program that defines the network
    in another session registers it first. Raises InputError for anything else, and for a function without a name.
    """
    if isinstance(backbone, nn.Module):
        name = f"{type(backbone).__module__}.{type(backbone).__qualname__}"
    elif callable(backbone) and "<lambda>" not in getattr(backbone, "__qualname__", "<lambda>"):
        name = f"{backbone.__module__}.{backbone.__qualname__}".replace(".<locals>", "")
    else:
        raise InputError(
            "backbone: expected a name, a module, or a class or named function of the number of classes, by whose name the run "
            f"is loaded again; got {backbone!r}"
        )
    BACKBONES[name] = _Given(name, backbone)
    return name


class _Given:
    """Builds the network, and checks that it is one for the given number of classes."""

    def __init__(self, name: str, backbone: Any) -> None:
        self._name, self._backbone = name, backbone

    def __call__(self, classes: int) -> nn.Module:
        network = self._built(classes)
        if not isinstance(network, nn.Module):
            raise InputError(
                f"backbone {self._name}: expected a module, got {type(network).__name__} from {classes} classes"
            )
        head = network.get_submodule(find_head(network))
        outputs = getattr(head, "out_features", getattr(head, "out_channels", classes))
        if outputs != classes:
            raise InputError(
                f"backbone {self._name} has {outputs} outputs: expected one per class of the dataset, {classes}. Give a class "
                "or function of the number of classes, or a module with as many outputs"
            )
        return network

    def _built(self, classes: int) -> Any:
        if isinstance(self._backbone, nn.Module):
            # On the meta device where a model is loaded.
            return copy.deepcopy(self._backbone).to(default_device())
        try:
            inspect.signature(self._backbone).bind(classes)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"backbone {self._name}: expected a class or function of the number of classes ({error}). Wrap it: "
                "def network(classes): return ..."
            ) from error
        return self._backbone(classes)
