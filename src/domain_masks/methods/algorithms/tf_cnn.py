"""TF-CNN: weights of the last layers as a low-rank tensor over domains (Li et al., ICCV 2017)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from domain_masks.batch import DomainBatch
from domain_masks.errors import InputError
from domain_masks.methods.base import PREDICTIONS, Context, Method, domains_of, known, labels_of
from domain_masks.methods.descriptions.decomposition import DescribedTFCNN, TFCNNSettings
from domain_masks.networks import RepresentedNetwork
from domain_masks.networks.calling import call_with


class TuckerLinear(nn.Linear):
    """A linear layer whose weights depend on the domain: W(z) = S ×₁ U_in ×₂ U_out ×₃ (zᵀ U_domain), bias b(z) = zᵀ B.

    ``code`` is z: 1 for the domain and 1 for what all share, of an unknown domain the shared 1 alone, as it is made. Then W(z)
    is that of ``layer``, cut to the rank. The parts of single domains are 0 at first.

    - ``core``: S, (R, R', R''); ``inputs``: U_in, (K, R); ``outputs``: U_out, (C, R'); ``domains``: U_domain, (D + 1, R'')
    """

    def __init__(self, layer: nn.Linear, count: int, rank: int, domain_rank: int) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = layer.in_features, layer.out_features
        outer = min(rank, layer.out_features)
        left, values, right = torch.linalg.svd(layer.weight.detach(), full_matrices=False)
        core = left.new_zeros(rank, outer, domain_rank)
        least = min(len(values), rank, outer)
        core[range(least), range(least), 0] = values[:least]
        domains = left.new_zeros(count + 1, domain_rank)
        domains[count, 0] = 1.0
        apart = domains[:count, 1:]
        apart.copy_(
            torch.eye(*apart.shape) if domain_rank > count else torch.randn(apart.shape) / max(1, apart.shape[1]) ** 0.5
        )
        self.core = nn.Parameter(core)
        self.inputs = nn.Parameter(_directions(right.t(), rank))
        self.outputs = nn.Parameter(_directions(left, outer))
        self.domains = nn.Parameter(domains)
        bias = left.new_zeros(count + 1, layer.out_features)
        if layer.bias is not None:
            bias[count] = layer.bias.detach()
        self.biases = nn.Parameter(bias)
        code = left.new_zeros(count + 1)
        code[count] = 1.0
        self.code: Tensor
        self.register_buffer("code", code)

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """W(z), (C, K)."""
        core = self.core @ (self.code @ self.domains)
        return self.outputs @ core.t() @ self.inputs.t()

    @property
    def bias(self) -> Tensor:  # type: ignore[override]
        """b(z), (C,)."""
        return self.code @ self.biases

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the outputs for the domain that ``code`` says: (N, ..., K) -> (N, ..., C)."""
        return functional.linear(inputs, self.weight, self.bias)


def _directions(found: Tensor, count: int) -> Tensor:
    """Return ``count`` orthonormal columns that begin with those of ``found``; what it lacks is drawn."""
    drawn = torch.randn(len(found), max(0, count - found.shape[1])).to(found)
    drawn = drawn - found @ (found.t() @ drawn)
    return torch.cat([found, torch.linalg.qr(drawn)[0]], 1)[:, :count].contiguous()


class TFCNN(DescribedTFCNN, Method):
    """The last layers' weights are a Tucker tensor over inputs, outputs and domains; each image trains those of its own domain.

    No code of the authors is known. The paper decomposes layers to a given error of reconstruction; here the ranks are set. A
    layer of K inputs and C outputs has min(K, C) directions of inputs, of outputs, and D + 1 of domains by default: sources
    share the directions that they look at, and differ in what they make of them. Where the layer has weights, the
    shared part begins with them.
    """

    predicts_by_domain = True
    network: RepresentedNetwork

    def __init__(self, backbone: nn.Module, context: Context, settings: TFCNNSettings) -> None:
        super().__init__(context, settings)
        boundary, size = context.boundary_of(backbone), context.image_size
        linear = {name: layer for name, layer in backbone.named_modules() if isinstance(layer, nn.Linear)}
        task = RepresentedNetwork(backbone, boundary, size).task_state()
        names = [name for name in linear if f"{name}.weight" in task]
        if settings.layers > len(names):
            raise InputError(
                f"method.layers: expected at most {len(names)}, the linear layers behind the boundary {boundary!r}, got "
                f"{settings.layers}"
            )
        self.layers = tuple(names[-settings.layers :])
        count = len(context.sources)
        ranks = [self._rank(name, linear[name]) for name in self.layers]
        domain_rank = settings.domain_rank or count + 1
        if domain_rank > count + 1:
            raise InputError(
                f"method.domain_rank: expected at most {count + 1}, one more than there are sources, got {domain_rank}"
            )
        for name, rank in zip(self.layers, ranks, strict=True):
            above, _, last = name.rpartition(".")
            layer = TuckerLinear(linear[name], count, rank, domain_rank)
            setattr(backbone.get_submodule(above), last, layer)
        self.network = RepresentedNetwork(backbone, boundary, size, self.layers[0])

    def _rank(self, name: str, layer: nn.Linear) -> int:
        rank: int = self.settings.rank or min(layer.in_features, layer.out_features)
        if rank > layer.in_features:
            raise InputError(f"method.rank: expected at most {layer.in_features}, the inputs of {name!r}, got {rank}")
        return rank

    def domain_tensors(self) -> frozenset[str]:
        """Return none: rows of the domains have a meaning with the core of the same model alone."""
        return frozenset()

    def task_domain_logits(self, features: Tensor) -> Tensor:
        """Return the logits by each domain's weights, (D, N, C); T runs once up to the layers that depend on the domain."""
        representation = self.network.represent(features)
        shared = self.network.network.get_buffer(f"{self.layers[0]}.code")
        codes = shared + torch.eye(len(shared) - 1, len(shared), dtype=shared.dtype, device=shared.device)
        return torch.stack(
            [
                call_with(
                    self.network,
                    {f"network.{layer}.code": code for layer in self.layers},
                    lambda network: network.classify(representation),
                    update_statistics=True,
                )
                for code in codes
            ]
        )

    def training_loss(self, batch: DomainBatch) -> dict[str, Tensor]:
        """Return the cross entropy of every image under the weights of its own domain, the mean over the batch."""
        labels, domains = labels_of(batch), domains_of(batch)
        logits = self.task_domain_logits(self.boundary_features(batch))
        own = logits[domains, torch.arange(len(domains), device=domains.device)]
        return {"classification": self.classification_loss(own, labels)}

    def predict(self, batch: DomainBatch) -> dict[str, Tensor]:
        """Return the logits by the shared part alone, each source's, and ``weighted`` where there is a domain classifier."""
        features = self.boundary_features(batch)
        logits = self.task_domain_logits(features)
        ensembles = {PREDICTIONS: self.network.task(features)} | self.weighted(logits, features, "logits")
        return ensembles | {known(source): logits[index] for index, source in enumerate(self.context.sources)}
