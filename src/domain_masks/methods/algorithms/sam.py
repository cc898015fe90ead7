"""SAM: sharpness-aware minimisation (Foret et al., ICLR 2021)."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from domain_masks.methods.algorithms.sharpness import SharpnessAware, ascent
from domain_masks.methods.descriptions.regularisation import DescribedSAM


class SAM(DescribedSAM, SharpnessAware):
    """Updates with the gradient at w + ρ g / ‖g‖, where g is the gradient at w (Algorithm 1)."""

    def moves(self, gradients: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return ρ g / ‖g‖."""
        return ascent(gradients, self.settings.radius)
