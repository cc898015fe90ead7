"""The data of training and epoch selection: the source domains' images, and nothing of a held-out domain."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from domain_masks.batch import DomainBatch


class EpochLoader(Protocol):
    """A loader of training batches, epoch by epoch."""

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the next pass."""

    def set_start(self, batch_index: int) -> None:
        """Start the next pass at a later batch of the epoch."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Any: ...


@dataclass(frozen=True)
class Sources:
    """The data of training and epoch selection: the sources' images and nothing of a held-out domain.

    - ``train``: the training batches, epoch by epoch
    - ``validation``: gives this process's share of the validation batches, with labels and domains
    - ``prepare``: puts a batch on the device, augments its images where it is one of training, and normalises them
    - ``ids``: the name of every row of the dataset, for messages
    """

    names: tuple[str, ...]
    train: EpochLoader
    validation: Callable[[], Iterable[DomainBatch]]
    prepare: Callable[[DomainBatch], DomainBatch]
    ids: Sequence[str] = ()
