"""Checks that a method uses ``--class_weights`` and ``--label_smoothing``, by the autograd graphs of its losses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from domain_masks.batch import DomainBatch
from domain_masks.errors import InputError
from domain_masks.methods import Method
from domain_masks.methods.base import WEIGHTED_BY_CLASS, find_head_or

_OF_TARGETS = ("NllLoss", "MultiMarginLoss")
"""Prefixes of the autograd nodes of losses that take class indices."""
_ADVICE = "compute every cross entropy of the classes by self.classification_loss(logits, labels), or leave {} out"


class UnweightedError(InputError):
    """A method that trains on class labels without the class weights or the label smoothing that were set."""


class WeightingWatch:
    """Watches the losses of a method for the class weights and the label smoothing of its context; inactive without them.

    ``used`` says whether a weighted loss was seen in any step so far.
    """

    def __init__(self, method: Method) -> None:
        self.method = method
        context = method.context
        self.active = context.class_weights is not None or context.label_smoothing > 0
        self._setting = "label_smoothing" if context.class_weights is None else "class_weights"
        self.used = False
        self._head = _head_parameters(method) if self.active else []

    def begin(self) -> None:
        """Reset for the next step."""
        self.used |= self.method.class_weights_used
        self.method.class_weights_used = False

    def is_unweighted(self, loss: Tensor, batch: DomainBatch) -> bool:
        """Whether ``loss`` contains a loss of the classes that is not the method's weighted one."""
        if batch.labels is None:
            return False
        own = (node for node in _nodes(loss) if WEIGHTED_BY_CLASS not in getattr(node, "metadata", ()))
        return any(self._is_of_the_classes(node, batch) for node in own)

    def _is_of_the_classes(self, node: Any, batch: DomainBatch) -> bool:
        if not node.name().startswith(_OF_TARGETS):
            return False
        context = self.method.context
        try:
            scores, target = node._saved_self, node._saved_target
        except (AttributeError, RuntimeError):  # the graph of a loss before, which is freed
            return False
        if scores.dim() < 2 or scores.shape[1] != len(context.classes) or batch.labels is None:
            return False
        if len(context.sources) == len(context.classes) and batch.domains is not None:
            return torch.equal(target, batch.labels) and not torch.equal(target, batch.domains)
        return _is_drawn_from(target, batch.labels, len(context.classes))

    def is_passed_by(self) -> bool:
        """Whether the current step changes the last layer without any weighted loss."""
        return not self.method.class_weights_used and any(parameter.grad is not None for parameter in self._head)

    def refusal(self, place: str) -> UnweightedError:
        """Build the error for a step without class weights or label smoothing."""
        without = "them" if self._setting == "class_weights" else "it"
        return UnweightedError(
            f"{self._setting}: method {self.method.name!r} learns the classes without {without} at {place}, so that "
            f"{'they' if without == 'them' else 'it'} would have no effect there: {_ADVICE.format(self._setting)}"
        )


def _head_parameters(method: Method) -> list[torch.nn.Parameter]:
    try:
        return list(method.network.network.get_submodule(find_head_or(method.network)).parameters())
    except (AttributeError, InputError):  # a method that has no such network, or a network without a last layer
        return []


def _nodes(loss: Tensor) -> Iterator[Any]:
    """Yield every node of a loss's graph."""
    seen: set[Any] = set()
    left = [loss.grad_fn]
    while left:
        node = left.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        yield node
        left += [before for before, _ in node.next_functions]


def _is_drawn_from(target: Tensor, labels: Tensor, classes: int) -> bool:
    """Whether ``target`` can be the batch's labels: all in some order, several times, or some of them."""
    chosen = target.flatten()[target.flatten() >= 0]
    if len(chosen) == 0:
        return False
    counts, available = (torch.bincount(values.flatten(), minlength=classes) for values in (chosen, labels))
    times, rest = divmod(target.numel(), len(labels))
    if times and not rest:
        return bool((counts <= times * available).all())
    return not times and bool((counts <= available).all())
