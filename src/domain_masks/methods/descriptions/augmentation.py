"""Methods that change images or features, or hide a part of them, while they train."""

from __future__ import annotations

from domain_masks.methods.description import Description

DESCRIPTIONS: tuple[type[Description], ...] = ()
