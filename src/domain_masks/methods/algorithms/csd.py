"""CSD: common-specific low-rank decomposition of the last layer (Piratla, Netrapalli, Sarawagi, ICML 2020)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from domain_masks.batch import DomainBatch
from domain_masks.errors import InputError
from domain_masks.methods.base import Context, domains_of, labels_of
from domain_masks.methods.descriptions.decomposition import CSDSettings, DescribedCSD
from domain_masks.methods.one_network import OneRepresentedNetwork


def orthonormality(common: Tensor, specific: Tensor) -> Tensor:
    """Return, per class y, the squared entries of I - W̃_y W̃_yᵀ, where W̃_y has the class's common and specific weights as rows.

    - ``common``: (C, K); ``specific``: (k, C, K)
    - returns: (C, k + 1, k + 1)
    """
    rows = torch.cat([common[None], specific]).transpose(0, 1)
    return (torch.eye(rows.shape[1]).to(rows) - rows @ rows.transpose(1, 2)).square()


class SpecificHead(nn.Module):
    """The specific last layers and how much each source has of each.

    - ``weight``: (k, C, K); ``bias``: (k, C); ``factors``: γ, (D, k)
    - ``common_factor``: scalar, with ``form=released-code``, else None
    """

    def __init__(self, common: nn.Linear, domains: int, settings: CSDSettings) -> None:
        super().__init__()
        self.released = settings.form == "released-code"
        # As in the authors' code for ResNets.
        self.weight = nn.Parameter(torch.randn(settings.rank, *common.weight.shape) * 0.1)
        self.bias = nn.Parameter(torch.randn(settings.rank, common.out_features) * 0.1)
        self.factors = nn.Parameter(torch.randn(domains, settings.rank) * 1e-4)
        self.common_factor = nn.Parameter(0.1 + 1e-4 * torch.randn(())) if self.released else None

    def forward(self, inputs: Tensor, common_logits: Tensor, domains: Tensor) -> Tensor:
        """Return the logits of each instance's own last layer w_c + W_s γ_i: (N, K), (N, C), (N,) -> (N, C)."""
        factors = self.factors[domains]
        if self.common_factor is not None:
            factors, common_logits = factors.tanh(), self.common_factor.tanh() * common_logits
        specific = torch.einsum("nk,rck->nrc", inputs, self.weight) + self.bias
        return common_logits + torch.einsum("nr,nrc->nc", factors, specific)


class CSD(DescribedCSD, OneRepresentedNetwork):
    """Learns the last layer w_c of all sources together with w_c + W_s γ_i of each, and keeps the first alone (Algorithm 1).

    The user's last layer is the common part, and what a model file holds. ``form=released-code`` is the authors' code for
    ResNets: tanh(γ_i), the common part times tanh of a learned factor in the sources' layers, and the mean over classes and
    entries where the paper's R adds up squared Frobenius norms.
    """

    def __init__(self, backbone: nn.Module, context: Context, settings: CSDSettings) -> None:
        super().__init__(backbone, context, settings)
        head = self.linear_head()
        if settings.rank >= head.in_features:
            raise InputError(
                f"method.rank: expected less than the {head.in_features} features of the last input, got {settings.rank}"
            )
        self.specific = SpecificHead(head, len(context.sources), settings)

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Return body, head, and the sources' layers as ``specific``."""
        return {**super().parameter_groups(), "specific": list(self.specific.parameters())}

    def training_only(self) -> tuple[str, ...]:
        """Return the prefix of the sources' layers."""
        return ("specific.",)

    def training_loss(self, batch: DomainBatch) -> dict[str, Tensor]:
        """Return the cross entropies of the sources' own layers and of the common one, and the weighted penalty."""
        settings, labels = self.settings, labels_of(batch)
        inputs, logits = self.represented(batch)
        own = self.specific(inputs, logits, domains_of(batch))
        head = self.network.network.get_submodule(self.network.head)
        with torch.autocast(inputs.device.type, enabled=False):
            penalty = orthonormality(head.get_parameter("weight"), self.specific.weight)
        return {
            "specific": self.classification_loss(own, labels),
            "common": settings.common_weight * self.classification_loss(logits, labels),
            "orthonormality": settings.orthonormality_weight
            * (penalty.mean() if self.specific.released else penalty.sum()),
        }
