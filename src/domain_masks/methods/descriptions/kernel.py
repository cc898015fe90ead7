"""Methods with a closed form on kernels of the features."""

from __future__ import annotations

from domain_masks.methods.description import Description

DESCRIPTIONS: tuple[type[Description], ...] = ()
