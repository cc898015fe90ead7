"""The batch that every method receives."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from domain_masks.devices import moved
from domain_masks.processes import gathered
from domain_masks.randomness import BatchRandomness


@dataclass(frozen=True)
class HostRows:
    """What the host knows of the rows of all processes, in the order of the global batch: tensors on the CPU.

    - ``labels``, ``domains``: (total,) int64
    """

    labels: Tensor
    domains: Tensor


@dataclass(frozen=True)
class DomainBatch:
    """A batch of labelled images (or features of F) from one or several source domains.

    - ``images``: (N, 3, H, W), normalised floats, or None where ``features`` are given
    - ``labels``: (N,) int64, indices into the dataset's classes; None where labels must not be seen
    - ``domains``: (N,) int64, indices into the run's ``sources``; None where the domain is unknown (held out)
    - ``ids``: (N,) int64, row of each sample in its dataset
    - ``features``: the boundary's input, F(images), or None
    - ``random``: the batch's random numbers while training, None otherwise
    - ``host``: labels and domains on the CPU, wherever the batch is; None where the loop does not bring them
    """

    images: Tensor | None
    labels: Tensor | None
    domains: Tensor | None
    ids: Tensor
    features: Tensor | None = None
    random: BatchRandomness | None = None
    host: HostRows | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def device(self) -> torch.device:
        """The device of the images or features."""
        tensor = self.features if self.features is not None else self.images
        return self.ids.device if tensor is None else tensor.device

    def to(self, device: torch.device | str) -> DomainBatch:
        """Return the batch with every tensor on ``device``; what the host knows of it stays there."""
        tensors: dict[str, Any] = {
            name: moved(value, device)
            for name in ("images", "labels", "domains", "ids", "features")
            if (value := getattr(self, name)) is not None
        }
        return replace(self, **tensors)

    def host_domains(self) -> Tensor:
        """Return the domains of the rows of all processes, (total,) on the CPU; they all call it together.

        Which rows are of a domain, and how many, is found from it without a synchronisation with a GPU; only a batch that was
        made without ``host`` is read from there.

        Raises ValueError where the domains are unknown.
        """
        return self._on_host("domains", self.domains)

    def host_labels(self) -> Tensor:
        """Return the labels of the rows of all processes, (total,) on the CPU; as :meth:`host_domains`."""
        return self._on_host("labels", self.labels)

    def _on_host(self, name: str, own: Tensor | None) -> Tensor:
        if own is None:
            raise ValueError(f"expected the {name} of every training instance, got None")
        known: Tensor = self.gather(own).cpu() if self.host is None else getattr(self.host, name)
        return known

    def gather(self, tensor: Tensor) -> Tensor:
        """Return the rows (N, ...) of the global batch, in its order, of which ``tensor`` (n, ...) holds this process's.

        All processes call it together; with one process, and outside training, it is ``tensor`` itself. A loss of gathered
        rows, in any combination with means over this process's own, has the gradient of one process with the whole batch, to
        any order. Needed for every loss that is not a mean over rows: variances over domains, covariances, kernels.

        Raises ValueError unless ``tensor`` has a row for each of the batch.
        """
        if self.random is None:
            return tensor
        if tensor.dim() == 0 or len(tensor) != self.random.count:
            raise ValueError(
                f"expected a row for each of the {self.random.count} of the batch, got shape {tuple(tensor.shape)}: gather "
                "all of them, and choose among those that come back"
            )
        return gathered(tensor, self.random.first, self.random.total)
