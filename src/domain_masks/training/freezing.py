"""The first epochs of a run, in which the layers below the boundary are frozen (``--freeze_epochs``)."""

from __future__ import annotations

from torch import nn

from domain_masks.methods import Method


class FrozenEpochs:
    """Freezes F in the first ``epochs`` and trains it afterwards; whether it is frozen depends on the epoch alone.

    Frozen parameters get no gradient, so that no optimiser changes them or counts a step for them; F runs in evaluation mode,
    so that batch norm keeps its statistics and nothing is dropped.

    - ``parameters``: those of F that are trained later
    """

    def __init__(self, method: Method, epochs: int) -> None:
        self._network = method.network
        self._epochs = epochs
        self._held = False
        self.parameters: list[nn.Parameter] = []
        if epochs:
            in_task = self._network.task_state()
            self.parameters = [
                parameter
                for name, parameter in self._network.network.named_parameters()
                if name not in in_task and parameter.requires_grad
            ]

    def begin(self, epoch: int) -> None:
        """Freeze or train F as ``epoch``, from 0, needs it."""
        if (held := epoch < self._epochs) == self._held:
            return
        self._held = held
        self._network.hold_features(held)
        for parameter in self.parameters:
            parameter.requires_grad_(not held)
