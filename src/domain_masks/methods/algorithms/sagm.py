"""SAGM: sharpness-aware gradient matching (Wang, Zhang, Lei, Zhang, CVPR 2023)."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from domain_masks.methods.algorithms.sharpness import SharpnessAware, ascent
from domain_masks.methods.descriptions.regularisation import DescribedSAGM


class SAGM(DescribedSAGM, SharpnessAware):
    """Updates with the mean of the gradients at w and at w + ρ g / ‖g‖ - α g, where g is the gradient at w.

    The authors' code uses the mean; the paper's objective is the sum, which with SGD is the same at half the learning rate. As
    in SAM and the authors' code, g is treated as a constant in the gradient at the perturbed weights.
    """

    share_here = 0.5

    def moves(self, gradients: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return ρ g / ‖g‖ - α g."""
        up = ascent(gradients, self.settings.radius)
        return {name: up[name] - self.settings.descent * gradient for name, gradient in gradients.items()}
