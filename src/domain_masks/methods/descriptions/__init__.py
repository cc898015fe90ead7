"""Descriptions of this package's algorithms that need no torch: paper, requirements and settings.

One file per family; each ends with ``DESCRIPTIONS``, the classes that :data:`DESCRIBED` collects.
"""

from __future__ import annotations

from domain_masks.methods.description import Description
from domain_masks.methods.descriptions import (
    adversarial,
    alignment,
    augmentation,
    baselines,
    decomposition,
    kernel,
    masks,
    meta_learning,
    regularisation,
    risk,
)

FAMILIES = (
    masks,
    baselines,
    meta_learning,
    adversarial,
    alignment,
    augmentation,
    risk,
    regularisation,
    decomposition,
    kernel,
)
DESCRIBED: dict[str, type[Description]] = {kind.name: kind for family in FAMILIES for kind in family.DESCRIPTIONS}
"""Name of a method -> its description: everything that settings depend on, without torch."""
