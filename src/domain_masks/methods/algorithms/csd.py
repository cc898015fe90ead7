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
    """Return, per class y, the squared entries of I - W̃_y W̃_yᵀ; the rows of W̃_y are the class's common and specific weights.

    - ``common``: (C, K); ``specific``: (k, C, K)
    - returns: (C, k + 1, k + 1)
    """
    rows = torch.cat([common[None], specific]).transpose(0, 1)
    identity = torch.eye(rows.shape[1], dtype=rows.dtype, device=rows.device)
    return (identity - rows @ rows.transpose(1, 2)).square()


class SpecificHead(nn.Module):
    """Specific last layers, and the factors by which each source combines them.

    - ``weight``: (k, C, K); ``bias``: (k, C); ``factors``: γ, (D, k)
    - ``common_factor``: scalar with ``form=released-code``, else None
    """

    def __init__(self, common: nn.Linear, domains: int, settings: CSDSettings) -> None:
        super().__init__()
        self.released = settings.form == "released-code"
        # Initial values of the authors' code for ResNets.
        self.weight = nn.Parameter(torch.randn(settings.rank, *common.weight.shape) * 0.1)
        self.bias = nn.Parameter(torch.randn(settings.rank, common.out_features) * 0.1)
        self.factors = nn.Parameter(torch.randn(domains, settings.rank) * 1e-4)
        self.common_factor = nn.Parameter(0.1 + 1e-4 * torch.randn(())) if self.released else None

    def forward(self, inputs: Tensor, common_logits: Tensor, domains: Tensor) -> Tensor:
        """Return the logits with w_c + W_s γ_i of each image's own domain i: (N, K), (N, C), (N,) -> (N, C)."""
        factors = self.factors[domains]
        if self.common_factor is not None:
            factors, common_logits = factors.tanh(), self.common_factor.tanh() * common_logits
        specific = torch.einsum("nk,rck->nrc", inputs, self.weight) + self.bias
        return common_logits + torch.einsum("nr,nrc->nc", factors, specific)


class CSD(DescribedCSD, OneRepresentedNetwork):
    """Trains a common last layer w_c jointly with w_c + W_s γ_i of each source i, and keeps w_c alone (Algorithm 1).

    The backbone's last layer is the common part, the only one in a model file. ``form=released-code`` follows the authors'
    code for ResNets: it uses tanh(γ_i), scales the common part of the sources' layers by tanh of a learned factor, and averages
    the penalty over classes and entries, while the paper's R sums squared Frobenius norms.
    """

    def __init__(self, backbone: nn.Module, context: Context, settings: CSDSettings) -> None:
        super().__init__(backbone, context, settings)
        head = self.linear_head()
        if settings.rank >= head.in_features:
            raise InputError(
                f"method.rank: expected less than the last layer's {head.in_features} input features, got {settings.rank}"
            )
        self.specific = SpecificHead(head, len(context.sources), settings)

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Return ``body``, ``head``, and the sources' layers as ``specific``."""
        return {**super().parameter_groups(), "specific": list(self.specific.parameters())}

    def training_only(self) -> tuple[str, ...]:
        """Return the prefix of the sources' layers."""
        return ("specific.",)

    def training_loss(self, batch: DomainBatch) -> dict[str, Tensor]:
        """Return the cross entropies with the sources' own layers and with the common one, and the weighted penalty."""
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
