"""TF-CNN: weights of the last layers as a low-rank tensor over domains (Li et al., ICCV 2017)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from domain_masks.batch import DomainBatch
from domain_masks.errors import InputError
from domain_masks.methods.base import PREDICTIONS, Context, Method, domains_of, known, labels_of
from domain_masks.methods.descriptions.decomposition import DescribedTFCNN, TFCNNSettings
from domain_masks.networks import RepresentedNetwork
from domain_masks.networks.calling import eagerly

_CODE: ContextVar[Tensor | None] = ContextVar("code", default=None)
"""The code z with which this thread computes; None for that of each layer."""


class TuckerLinear(nn.Linear):
    """A linear layer whose weights depend on the domain: W(z) = S ×₁ U_in ×₂ U_out ×₃ (zᵀ U_domain), bias b(z) = zᵀ B.

    z, (D + 1,), is 1 for the domain and 1 for the shared part: see :func:`encoding`. Outside its block it is ``code``, that of
    an unknown domain: only the shared entry is 1, and W(z) is initially the weight of ``layer``, truncated to the rank. The
    domain-specific parts are initially 0.

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
        core = self.core @ (self._z @ self.domains)
        return self.outputs @ core.t() @ self.inputs.t()

    @property
    def bias(self) -> Tensor:  # type: ignore[override]
        """b(z), (C,)."""
        return self._z @ self.biases

    @property
    def _z(self) -> Tensor:
        z = _CODE.get()
        return self.code if z is None else z

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the outputs for the domain that z encodes: (N, ..., K) -> (N, ..., C)."""
        return functional.linear(inputs, self.weight, self.bias)


@contextmanager
def encoding(code: Tensor) -> Iterator[None]:
    """Compute every :class:`TuckerLinear` with z = ``code``, (D + 1,), within the block, in this thread alone.

    The tensors of the layers stay as they are, so that other threads can predict at the same time. Compiled parts run eagerly.
    """
    token = _CODE.set(code)
    try:
        with eagerly():
            yield
    finally:
        _CODE.reset(token)


def _directions(columns: Tensor, count: int) -> Tensor:
    """Return ``count`` orthonormal columns: the first of ``columns``, and random ones if there are fewer than ``count``."""
    drawn = torch.randn(len(columns), max(0, count - columns.shape[1])).to(columns)
    drawn = drawn - columns @ (columns.t() @ drawn)
    return torch.cat([columns, torch.linalg.qr(drawn)[0]], 1)[:, :count].contiguous()


class TFCNN(DescribedTFCNN, Method):
    """Factorises the last layers' weights as a Tucker tensor over inputs, outputs and domains.

    Each image trains the weights of its own domain. No code of the authors is known. The paper decomposes layers to a given
    reconstruction error; here the ranks are settings. By default a layer of K inputs and C outputs has rank min(K, C) in inputs
    and outputs, and D + 1 in domains: sources share input and output directions and differ in the core. The shared part is
    initialised with the layer's weights.
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
                f"method.layers: expected at most {len(names)}, the number of linear layers after the boundary {boundary!r}, "
                f"got {settings.layers}"
            )
        self.layers = tuple(names[-settings.layers :])
        count = len(context.sources)
        ranks = [self._rank(name, linear[name]) for name in self.layers]
        domain_rank = settings.domain_rank or count + 1
        if domain_rank > count + 1:
            raise InputError(
                f"method.domain_rank: expected at most {count + 1}, the number of sources + 1, got {domain_rank}"
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
        """Return no names: a domain's rows are meaningful only with the core of the same model."""
        return frozenset()

    def task_domain_logits(self, features: Tensor) -> Tensor:
        """Return the logits with each domain's weights, (D, N, C); T runs once up to the layers that depend on the domain."""
        representation = self.network.represent(features)
        shared = self.network.network.get_buffer(f"{self.layers[0]}.code")
        codes = shared + torch.eye(len(shared) - 1, len(shared), dtype=shared.dtype, device=shared.device)
        logits = []
        for code in codes:
            with encoding(code):
                logits.append(self.network.classify(representation))
        return torch.stack(logits)

    def training_loss(self, batch: DomainBatch) -> dict[str, Tensor]:
        """Return the cross entropy with the weights of each image's own domain, averaged over the batch."""
        labels, domains = labels_of(batch), domains_of(batch)
        logits = self.task_domain_logits(self.boundary_features(batch))
        own = logits[domains, torch.arange(len(domains), device=domains.device)]
        return {"classification": self.classification_loss(own, labels)}

    def predict(self, batch: DomainBatch) -> dict[str, Tensor]:
        """Return the logits with the shared part alone, each source's, and ``weighted`` if there is a domain classifier."""
        features = self.boundary_features(batch)
        logits = self.task_domain_logits(features)
        ensembles = {PREDICTIONS: self.network.task(features)} | self.weighted(logits, features, "logits")
        return ensembles | {known(source): logits[index] for index, source in enumerate(self.context.sources)}
