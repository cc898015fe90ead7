"""The algorithms of this package as they are known without torch: where they come from, what they need, their settings.

A file per family; each ends with ``DESCRIPTIONS``, the classes that :data:`DESCRIBED` collects.
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
"""Name -> what is known of an algorithm without torch: everything that settings depend on."""
