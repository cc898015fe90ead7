"""Adaptation of a trained method to the unlabelled images that it predicts: batch-norm statistics, and TENT."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from domain_masks.batch import DomainBatch
from domain_masks.errors import InputError
from domain_masks.methods.base import PREDICTIONS, Method
from domain_masks.methods.prediction import BatchOutput, output_of
from domain_masks.networks.normalised import DomainBatchNorm

Batch = TypeVar("Batch")
_AFFINE = (
    nn.modules.batchnorm._BatchNorm,
    nn.modules.instancenorm._InstanceNorm,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.RMSNorm,
    DomainBatchNorm,
)
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def batch_norms(method: Method) -> list[Any]:
    """Return the batch-norm layers of a method that have running statistics, also those of each domain."""
    return [
        module
        for module in method.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm | DomainBatchNorm) and module.running_mean is not None
    ]


def normalisation_parameters(method: Method) -> list[nn.Parameter]:
    """Return the weights and biases of a method's normalisation layers, each once."""
    found = {
        id(parameter): parameter
        for module in method.modules()
        if isinstance(module, _AFFINE)
        for parameter in module.parameters(recurse=False)
    }
    return list(found.values())


def require_adaptable(method: Method, adapt: str) -> None:
    """Raise InputError unless a method can be adapted: it trains its features, and has the layers that are adapted."""
    if method.needs == "features":
        raise InputError(
            f"adapt {adapt!r}: method {method.name!r} predicts from features of a fixed network: expected a method that is "
            "trained by gradient on images"
        )
    if adapt == "batch-norm" and not batch_norms(method):
        raise InputError(
            "adapt 'batch-norm': the network has no batch norm with running statistics: use --adapt tent for other "
            "normalisation layers, or leave it out"
        )
    if adapt == "tent" and not normalisation_parameters(method):
        raise InputError(
            "adapt 'tent': the network has no normalisation layer with weight and bias, which are all that is adapted: leave "
            "it out"
        )


def with_statistics_of(method: Method, batches: Iterable[DomainBatch]) -> Method:
    """Return a copy of a method whose batch-norm statistics are those of the images of ``batches``.

    Mean and variance are the means over the batches of those of each batch, weighted by their images, as the method predicts
    them: in T under all masks together. Adaptive batch normalisation (Li et al., 2017); batches without labels suffice. Raises
    InputError without batch norm, without images, and for a batch that has one value per channel.
    """
    require_adaptable(method, "batch-norm")
    adapted = deepcopy(method).eval()
    layers = batch_norms(adapted)
    tracked = [layer.num_batches_tracked.clone() for layer in layers]
    before = [{name: getattr(layer, name).clone() for name in _STATISTICS} for layer in layers]
    momenta = [layer.momentum for layer in layers]
    seen = 0
    with torch.no_grad():
        for batch in batches:
            seen += len(batch)
            for layer in layers:
                # Not train(): a layer of timm's may hold dropout.
                layer.training, layer.momentum = True, len(batch) / seen
            _refusing_single_values(adapted, batch)
    if not seen:
        raise InputError("adapt 'batch-norm': expected at least one image to take statistics of, got none")
    for layer, momentum, count, kept in zip(layers, momenta, tracked, before, strict=True):
        layer.training, layer.momentum = False, momentum
        if torch.equal(layer.num_batches_tracked, count):  # no prediction runs it
            for name, value in kept.items():
                getattr(layer, name).copy_(value)
    return adapted


class Tent:
    """A copy of a method that adapts itself to each batch that it predicts, by minimising entropy (Wang et al., ICLR 2021).

    Batch norm uses the statistics of the batch. After each prediction one step of Adam on the weights and biases of all
    normalisation layers lowers the mean entropy of the prediction ensemble; the outputs of a batch are those before its own
    step, as in the authors' code. Unlike there, dropout stays off, and layer and group norm are adapted as well.

    - ``rate``: of Adam

    Raises InputError if the method cannot be adapted.
    """

    def __init__(self, method: Method, rate: float) -> None:
        require_adaptable(method, "tent")
        self.method = deepcopy(method).eval().requires_grad_(False)
        for layer in batch_norms(self.method):
            # Statistics of the batch, without a change of the running ones; not train(), as a layer of timm's may hold dropout.
            layer.training, layer.momentum = True, 0.0
        parameters = normalisation_parameters(self.method)
        for parameter in parameters:
            parameter.requires_grad_(True)
        self._optimizer = torch.optim.Adam(parameters, lr=rate, betas=(0.9, 0.999), weight_decay=0.0)

    def output(self, batch: DomainBatch) -> BatchOutput:
        """Return the output for a batch, then adapt to it; the entropy is that of ``predictions``.

        Raises InputError for logits that are not finite, and for a batch that has one value per channel.
        """
        with torch.enable_grad():
            output = _refusing_single_values(self.method, batch)
            logits = output.logits[PREDICTIONS].float()
            if not bool(torch.isfinite(logits).all()):
                raise InputError(
                    "adapt 'tent': the adapted network predicts NaN or infinity: use a smaller --adapt_rate"
                )
            if not logits.requires_grad:
                raise InputError(
                    f"adapt 'tent': the predictions of method {self.method.name!r} do not depend on a normalisation layer by a "
                    "gradient: leave it out"
                )
            loss = entropy(logits).mean()
            loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        self._optimizer.zero_grad()
        domains = None if output.domains is None else output.domains.detach()
        return BatchOutput({name: values.detach() for name, values in output.logits.items()}, domains)


def entropy(logits: Tensor) -> Tensor:
    """Return the entropy of the softmax of ``logits``: (N, C) -> (N,), in nats."""
    return -(logits.softmax(1) * logits.log_softmax(1)).sum(1)


def with_last_joined(
    batches: Iterable[Batch], size: int, count: Callable[[Batch], int], join: Callable[[Batch, Batch], Batch]
) -> Iterator[Batch]:
    """Yield batches of images; one of less than half of ``size`` joins the one before, as its statistics would be poor.

    - ``count``: the number of images of a batch; ``join``: makes one batch of two
    """
    waiting: Batch | None = None
    for batch in batches:
        if waiting is None:
            waiting = batch
        elif 2 * count(batch) < size:
            waiting = join(waiting, batch)
        else:
            yield waiting
            waiting = batch
    if waiting is not None:
        yield waiting


def joined(first: DomainBatch, second: DomainBatch) -> DomainBatch:
    """Return the images and ids of two batches as one; raises ValueError for batches without images."""
    if first.images is None or second.images is None:
        raise ValueError("expected batches of images, got features")
    return DomainBatch(torch.cat([first.images, second.images]), None, None, torch.cat([first.ids, second.ids]))


def _refusing_single_values(method: Method, batch: DomainBatch) -> BatchOutput:
    try:
        return output_of(method, batch)
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise InputError(
            f"adapt: batch norm has no statistics of a batch of {len(batch)} image whose maps have one place: expected more "
            "images of one domain"
        ) from error
