"""Build a method around a backbone from its name and settings."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from domain_masks.methods.base import Context, Method, Settings
from domain_masks.methods.method_registry import method_class
from domain_masks.randomness import seeded


def build_method(name: str, backbone: nn.Module, context: Context, settings: Settings, seed: int = 0) -> Method:
    """Build the method around ``backbone``; its random initial values depend on ``seed``."""
    with seeded(seed, "initialisation/method"):
        # Every algorithm takes a backbone as first argument; the base class does not.
        kind: Callable[[nn.Module, Context, Settings], Method] = method_class(name)
        return kind(backbone, context, settings)
