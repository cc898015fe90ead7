"""The algorithms, one file each; :data:`METHODS` lists them all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from domain_masks.lazy import attach

if TYPE_CHECKING:
    from domain_masks.methods.aggregate import Aggregate
    from domain_masks.methods.base import Context, Engine, Method, Optimizer, Phase
    from domain_masks.methods.description import Description, Paper, Settings
    from domain_masks.methods.dmg import DMG
    from domain_masks.methods.method_registry import METHODS
    from domain_masks.methods.multi_headed import MultiHeaded
    from domain_masks.methods.plugins import load_plugins
    from domain_masks.methods.search_ranges import Choice, Uniform

__all__ = [
    "DMG",
    "METHODS",
    "Aggregate",
    "Choice",
    "Context",
    "Description",
    "Engine",
    "Method",
    "MultiHeaded",
    "Optimizer",
    "Paper",
    "Phase",
    "Settings",
    "Uniform",
    "load_plugins",
]

attach(__name__)
