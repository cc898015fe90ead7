"""The first epochs of a run, in which the layers below the boundary are frozen (``--freeze_epochs``, ``--unfreeze_every``)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import nn

from domain_masks.methods import Method
from domain_masks.networks.depth import module_depths, parameter_depths
from domain_masks.records.counts import counted


@dataclass(frozen=True)
class FrozenLayer:
    """A layer of F that is frozen in the epochs before ``start``, counted from 0.

    - ``name``: the outermost module of the user's network that begins with the layer and holds nothing of another one
    - ``depth``: as layer-wise learning rates count it, from the input
    """

    name: str
    depth: int
    start: int
    parameters: list[nn.Parameter]


class FrozenEpochs:
    """Freezes F in the first ``epochs`` and trains it afterwards; which layers are frozen depends on the epoch alone.

    With ``every``, F's last layer is trained from then on, and one layer more every so many epochs, down to the first: gradual
    unfreezing (Howard & Ruder, ACL 2018, Section 3.3). Otherwise all layers are trained from then on.

    Frozen parameters get no gradient, so that no optimiser changes them or counts a step for them; the modules of frozen layers
    run in evaluation mode, so that batch norm keeps its statistics and nothing is dropped.

    - ``layers``: those of F that are trained later, the last one first
    """

    def __init__(self, method: Method, epochs: int, every: int = 0) -> None:
        self._network = method.network
        self._epochs = epochs
        self._every = every
        self.layers = list(self._frozen_layers()) if epochs else []
        self._trained = len(self.layers)
        self._depths = module_depths(self._network.network) if every else {}

    def _frozen_layers(self) -> Iterator[FrozenLayer]:
        in_task, depths = self._network.task_state(), parameter_depths(self._network.network)
        members: dict[int, dict[str, nn.Parameter]] = {}
        for name, parameter in self._network.network.named_parameters():
            if name not in in_task and parameter.requires_grad:
                members.setdefault(depths.get(name, 0), {})[name] = parameter
        for index, depth in enumerate(sorted(members, reverse=True)):
            others = [name for name, its_depth in depths.items() if its_depth != depth]
            name = _outermost(next(iter(members[depth])), others)
            yield FrozenLayer(name, depth, self._epochs + index * self._every, list(members[depth].values()))

    @property
    def last_start(self) -> int:
        """The first epoch, from 0, in which all layers are trained."""
        return max((layer.start for layer in self.layers), default=0)

    def begin(self, epoch: int) -> None:
        """Freeze or train the layers of F as ``epoch``, from 0, needs it."""
        trained = [layer for layer in self.layers if layer.start <= epoch]
        if len(trained) == self._trained:
            return
        self._trained = len(trained)
        self._network.hold_features(self._trained < len(self.layers), self._modules_from(trained))
        for layer in self.layers:
            for parameter in layer.parameters:
                parameter.requires_grad_(layer.start <= epoch)

    def _modules_from(self, trained: Sequence[FrozenLayer]) -> list[str]:
        """Return the modules at or above the lowest trained layer."""
        if not trained:
            return []
        return [name for name, depth in self._depths.items() if depth >= trained[-1].depth]

    def describe(self, epoch: int) -> str:
        """Return in words what is frozen or trained from ``epoch`` on, counted from 0; empty where nothing changes."""
        count = len(self.layers)
        if count and epoch == 0:
            epochs = f"in {'epoch 1' if self._epochs == 1 else f'epochs 1 to {self._epochs}'}"
            step = "epoch" if self._every == 1 else f"{self._every} epochs"
            each = f", then one is added every {step}" if self._every else ""
            return (
                f"{counted(count, 'layer')} below {self._network.boundary} frozen {epochs}{each}; all are trained from epoch "
                f"{self.last_start + 1} on"
            )
        begun = [layer.name for layer in self.layers if layer.start == epoch]
        if not begun:
            return ""
        if epoch == self.last_start:
            return f"epoch {epoch + 1}: all layers are trained from now on"
        number = sum(layer.start <= epoch for layer in self.layers)
        return f"epoch {epoch + 1}: {begun[0]} is trained from now on, {number} of {count} layers"


def _outermost(parameter: str, others: Sequence[str]) -> str:
    """Return the outermost module that holds ``parameter`` and none of the ``others``; its own name where there is none."""
    parts = parameter.split(".")
    modules = [".".join(parts[:end]) for end in range(1, len(parts) + 1)]
    return next(name for name in modules if not any(other.startswith(f"{name}.") for other in others))
