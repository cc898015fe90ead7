"""Methods that divide a network into a part of all domains and parts of single ones."""

from __future__ import annotations

from domain_masks.methods.description import Description

DESCRIPTIONS: tuple[type[Description], ...] = ()
