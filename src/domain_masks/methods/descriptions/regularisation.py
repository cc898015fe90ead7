"""Methods that regularise the way of the weights, or keep features near to what they were."""

from __future__ import annotations

from domain_masks.methods.description import Description

DESCRIPTIONS: tuple[type[Description], ...] = ()
