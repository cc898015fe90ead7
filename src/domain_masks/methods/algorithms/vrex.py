"""V-REx: risk extrapolation by the variance of the sources' risks (Krueger et al., ICML 2021)."""

from __future__ import annotations

from torch import Tensor

from domain_masks.batch import DomainBatch
from domain_masks.methods.algorithms.warm_up import WarmedUp
from domain_masks.methods.base import labels_of
from domain_masks.methods.descriptions.risk import DescribedVREx
from domain_masks.methods.one_network import by_domain, mean_weights


def risk_variance(risks: Tensor) -> Tensor:
    """Return the biased variance of the sources' risks (D,); a scalar, 0 or more."""
    return (risks - risks.mean()).square().mean()


class VREx(DescribedVREx, WarmedUp):
    """Penalises the variance of the sources' risks.

    As in DomainBed the first term is the mean of the risks; the paper uses their sum, so its β is D times ``penalty_weight``.
    The risks are computed over the images of all processes.
    """

    def training_loss(self, batch: DomainBatch) -> dict[str, Tensor]:
        """Return the mean of the sources' risks and their weighted variance."""
        losses = batch.gather(self.classification_loss(self.logits(batch), labels_of(batch), reduction="none"))
        risks = mean_weights(by_domain(batch, self.context.sources), losses) @ losses
        return self.penalised(risks.mean(), risk_variance(risks))
