"""The algorithms, one file each; :data:`METHODS` lists them all."""

from domain_masks.methods.aggregate import Aggregate
from domain_masks.methods.base import Context, Engine, Method, Paper, Phase, Settings
from domain_masks.methods.dmg import DMG
from domain_masks.methods.multi_headed import MultiHeaded

METHODS: dict[str, type[Method]] = {
    "dmg": DMG,
    "aggregate": Aggregate,
    "multi_headed": MultiHeaded,
}

__all__ = ["DMG", "METHODS", "Aggregate", "Context", "Engine", "Method", "MultiHeaded", "Paper", "Phase", "Settings"]
