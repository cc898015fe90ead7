"""A mean of parameters over the updates of their optimisers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

Step = Callable[[Sequence[Tensor], Sequence[Tensor], int], None]
"""Updates means in place with new tensors, given the number of updates so far; as in ``torch.optim.swa_utils``."""


@dataclass
class ParameterAverage:
    """Means of parameters; those of one optimiser change only when it has updated them.

    - ``means``: optimiser -> name of a parameter -> its mean
    - ``updates``: optimiser -> how many of its updates are averaged
    """

    means: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    updates: dict[str, int] = field(default_factory=dict)

    def add(self, optimizer: str, parameters: Mapping[str, Tensor], step: Step) -> None:
        """Add the parameters of an optimiser after an update; the first ones are the mean."""
        count = self.updates.get(optimizer, 0)
        if not count:
            self.means[optimizer] = {name: value.detach().clone() for name, value in parameters.items()}
        else:
            means = self.means[optimizer]
            # By dtype, as one kernel updates a group of tensors.
            for kind in {value.dtype for value in parameters.values()}:
                names = [name for name, value in parameters.items() if value.dtype == kind]
                step([means[name] for name in names], [parameters[name].detach() for name in names], count)
        self.updates[optimizer] = count + 1

    def joined(self, other: ParameterAverage) -> ParameterAverage:
        """Return the mean over the updates of both."""
        result = ParameterAverage(
            {name: {key: value.clone() for key, value in means.items()} for name, means in self.means.items()},
            dict(self.updates),
        )
        for optimizer, means in other.means.items():
            before, count = result.updates.get(optimizer, 0), other.updates[optimizer]
            if before:
                for name, value in means.items():
                    # The mean of two equal numbers is bitwise the same number, so frozen parameters do not change.
                    result.means[optimizer][name].lerp_(value, count / (before + count))
            else:
                result.means[optimizer] = {name: value.clone() for name, value in means.items()}
            result.updates[optimizer] = before + count
        return result

    @property
    def count(self) -> int:
        """The number of averaged updates; with several optimisers, the largest."""
        return max(self.updates.values(), default=0)

    @torch.no_grad()
    def copy_to(self, parameters: Mapping[str, Tensor]) -> None:
        """Copy the means into the parameters of these names; parameters without a mean are unchanged."""
        for means in self.means.values():
            for name, value in means.items():
                parameters[name].copy_(value)

    def to(self, parameters: Mapping[str, Tensor]) -> ParameterAverage:
        """Return the same on the devices of the parameters of these names; raises KeyError where one is missing."""
        means = {
            optimizer: {name: value.to(parameters[name]) for name, value in group.items()}
            for optimizer, group in self.means.items()
        }
        return ParameterAverage(means, self.updates)

    def state_dict(self) -> dict[str, Any]:
        """Return plain values and tensors, for a checkpoint."""
        return {"means": self.means, "updates": self.updates}

    @classmethod
    def read(cls, state: Mapping[str, Any]) -> ParameterAverage:
        """Return what :meth:`state_dict` returned."""
        means = {name: dict(group) for name, group in state["means"].items()}
        return cls(means, {name: int(count) for name, count in state["updates"].items()})
