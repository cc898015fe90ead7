"""Methods that learn from episodes over the source domains."""

from __future__ import annotations

from domain_masks.methods.description import Description

DESCRIPTIONS: tuple[type[Description], ...] = ()
