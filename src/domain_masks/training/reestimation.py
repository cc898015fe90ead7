"""Batch-norm statistics of averaged weights, which no training batch has passed through."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterable
from functools import partial
from itertools import islice
from typing import Any, cast

from torch import Tensor, nn

from domain_masks.batch import DomainBatch
from domain_masks.methods import Engine, Method
from domain_masks.methods.extra_state import is_extra
from domain_masks.methods.tensor_files import load_tensors
from domain_masks.networks.normalised import DomainBatchNorm
from domain_masks.training.engine import TrainingEngine

BATCHES = 50
"""Largest number of batches that statistics are computed over."""
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


class Rehearsal:
    """An engine for training steps without updates: gradients are computed and dropped."""

    def __init__(self, engine: TrainingEngine) -> None:
        self._engine = engine

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def update(self, *optimizers: str) -> None:
        """Drop the gradients of the optimisers instead of stepping."""
        self._engine.drop(*optimizers)

    def log(self, name: str, value: Tensor | float) -> None:
        """Log nothing."""


def layers_of(method: Method) -> dict[str, nn.modules.batchnorm._BatchNorm | DomainBatchNorm]:
    """Return name -> batch-norm layer whose running statistics a step in training mode updates."""
    return {
        name: module
        for name, module in method.named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm | DomainBatchNorm)
        and module.training
        and module.running_mean is not None
        and module.num_batches_tracked is not None
    }


def reestimate(
    engine: TrainingEngine,
    batches: Iterable[DomainBatch],
    around: Callable[[DomainBatch, Callable[[], object]], None],
) -> int:
    """Estimate the running statistics of batch norm again, as the mean over ``batches``; returns the number of images.

    The method takes its steps as in training, with the masks, augmentation and dropout of these batches, so that the
    statistics are those that training would give. Nothing else in the method is changed. A last batch that is smaller than
    the others is left out. Layers that no step runs in training mode, such as those of frozen features, keep theirs; where
    there are no others nothing is computed.

    - ``batches``: training batches, prepared
    - ``around``: calls a function in the context of a training step on a batch
    """
    method = engine.method.train()
    layers = layers_of(method)
    if not layers:
        return 0
    before = copy.deepcopy(method.state_dict())
    momenta = {name: layer.momentum for name, layer in layers.items()}
    for layer in layers.values():
        # A cumulative mean: every batch has the same weight.
        layer.momentum = None
        layer.num_batches_tracked.zero_()  # type: ignore[union-attr]
    seen: list[int] = []
    try:
        for batch in islice(batches, BATCHES):
            rows = len(batch) if batch.random is None else batch.random.total
            if seen and rows < seen[0]:
                break
            around(batch, partial(_step, method, engine, batch))
            seen.append(rows)
    finally:
        for name, layer in layers.items():
            layer.momentum = momenta[name]
        method.zero_grad(set_to_none=True)
    taken = {name for name, layer in layers.items() if bool(layer.num_batches_tracked.any())}  # type: ignore[union-attr]
    _put_back(method, before, {f"{name}.{kept}" for name in taken for kept in _STATISTICS})
    engine.average_buffers()
    return sum(seen) if taken else 0


def _step(method: Method, engine: TrainingEngine, batch: DomainBatch) -> None:
    if type(method).step is Method.step:
        # The loss is enough to run the network; a gradient penalty may need gradients on the way.
        method.training_loss(batch)
        return
    method.step(batch, cast("Engine", Rehearsal(engine)))


def _put_back(method: Method, before: dict[str, Any], kept: Collection[str]) -> None:
    parameters = {name for name, _ in method.named_parameters(remove_duplicate=False)}
    state = {
        name: value for name, value in before.items() if name not in kept and (name not in parameters or is_extra(name))
    }
    load_tensors(method, state, strict=False)
