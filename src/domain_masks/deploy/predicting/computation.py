"""What a model computes for a stream of images: read, prepared and predicted under all ensembles, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from threading import Lock
from typing import Any

import torch
from torch import Tensor

from domain_masks.batch import DomainBatch
from domain_masks.data import Preprocessing
from domain_masks.deploy.predicting.computing_threads import in_threads
from domain_masks.deploy.predicting.image_inputs import ImageInput
from domain_masks.deploy.predicting.image_paths import Unreadable
from domain_masks.deploy.predicting.image_stream import ReadBatch, read_batch, read_batches, worth_workers
from domain_masks.errors import InputError
from domain_masks.methods import Method
from domain_masks.methods.adaptation import Tent, with_last_joined, with_statistics_of
from domain_masks.methods.prediction import BatchOutput, output_of
from domain_masks.methods.views import output_over_views
from domain_masks.records.test_time import BATCH_NORM, TENT, AtTestTime
from domain_masks.torch_globals import default_tensors

_CPU_BATCH = 16
"""Images that a CPU computes together at most: with more, the activations leave its caches (docs/performance.md)."""
_WITHOUT_STATE = frozenset({"domain_masks", "torch", "torchvision", "timm"})
"""Packages whose modules keep nothing between calls, so that several threads can call them at the same time."""
_ONE_AT_A_TIME = Lock()

Computed = tuple[dict[str, Tensor], Tensor | None]
"""Ensemble -> logits (N, C), and the sources' probabilities (N, D) or None; float32 on the CPU."""


@dataclass(frozen=True, eq=False)
class Computation:
    """A method in evaluation mode on a device, with the preprocessing of its images.

    - ``tta``: the views of each image whose probabilities are averaged; None for the image alone
    """

    method: Method
    preprocessing: Preprocessing
    device: torch.device
    tta: str | None = None

    def outputs(
        self, items: Iterator[ImageInput | Unreadable], batch: int, workers: int | None
    ) -> Iterator[tuple[ReadBatch, Computed]]:
        """Yield the images of each batch and their output, on a CPU in threads that both read and compute."""
        if self.device.type == "cpu":
            waiting, count = worth_workers(items, workers, torch.get_num_threads())
            chunks = iter(lambda: list(islice(waiting, min(batch, _CPU_BATCH))), [])
            # A single thread would only wait for this one.
            yield from in_threads(self._read_and_compute, chunks, 0 if workers is None and count == 1 else count)
        else:
            for read in read_batches(items, self.preprocessing, batch, workers):
                yield read, self._compute_read(read)

    def batches(
        self, items: Iterator[ImageInput | Unreadable], batch: int, workers: int | None
    ) -> Iterator[tuple[ReadBatch, DomainBatch | None]]:
        """Yield the images that are read, and those of each batch on the device, prepared; None for a batch without any.

        They are read by this process on a CPU, unless there are ``workers``. A batch of less than half of ``batch`` joins the
        one before.
        """
        if self.device.type == "cpu" and workers is None:
            workers = 0
        reads = read_batches(items, self.preprocessing, batch, workers)
        for read in with_last_joined(reads, batch, lambda read: len(read.names), ReadBatch.joined):
            if not read.names:
                yield read, None
                continue
            images = self.preprocessing.normalize(torch.from_numpy(read.images).to(self.device)).contiguous()
            yield read, DomainBatch(images, None, None, torch.arange(len(images), device=self.device))

    def at_test_time(
        self,
        test_time: AtTestTime,
        items: Callable[[], Iterator[ImageInput | Unreadable]],
        batch: int,
        workers: int | None,
    ) -> Iterator[tuple[ReadBatch, Computed]]:
        """Yield what :meth:`outputs` does, over views of the images or with a copy of the method that is adapted to them.

        - ``items``: begins to read the images anew at every call
        """
        if test_time.adapt == TENT:
            yield from self._adapting(Tent(self.method, test_time.rate), items(), test_time.batch, workers)
            return
        method = self.method
        if test_time.adapt == BATCH_NORM:
            batches = (batch for _, batch in self.batches(items(), test_time.batch, workers) if batch is not None)
            method = with_statistics_of(method, batches)
        yield from replace(self, method=method, tta=test_time.tta).outputs(items(), batch, workers)

    def _adapting(
        self, tent: Tent, items: Iterator[ImageInput | Unreadable], batch: int, workers: int | None
    ) -> Iterator[tuple[ReadBatch, Computed]]:
        """Yield the images of each batch and their output, one batch after the other, while ``tent`` adapts to them."""
        for read, prepared in self.batches(items, batch, workers):
            yield read, ({}, None) if prepared is None else _on_cpu(tent.output(prepared))

    def _read_and_compute(self, items: list[ImageInput | Unreadable]) -> tuple[ReadBatch, Computed]:
        read = read_batch(items, self.preprocessing)
        return read, self._compute_read(read)

    def _compute_read(self, read: ReadBatch) -> Computed:
        with self._computing:
            return self._compute(torch.from_numpy(read.images)) if read.names else ({}, None)

    @property
    def _computing(self) -> AbstractContextManager[Any]:
        """Lets one thread at a time compute with modules of other packages, which may keep values in attributes."""
        packages = {type(module).__module__.partition(".")[0] for module in self.method.modules()}
        return nullcontext() if packages <= _WITHOUT_STATE else _ONE_AT_A_TIME

    def _compute(self, images: Tensor) -> Computed:
        """Return ensemble -> logits of uint8 (N, 3, size, size), and the sources' probabilities (N, D); both on the CPU.

        The probabilities are None without a domain classifier. Splits the batch in half if it does not fit in memory.
        """
        try:
            with torch.inference_mode(), default_tensors():
                prepared = self.preprocessing.normalize(images.to(self.device)).contiguous(memory_format=self._layout)
                batch = DomainBatch(prepared, None, None, torch.arange(len(images), device=self.device))
                return _on_cpu(self._output(batch))
        except torch.OutOfMemoryError as error:
            if len(images) == 1:
                raise InputError(
                    f"{self.device} has not enough memory for one image at {self.preprocessing.size} pixels: use "
                    "device cpu, or free memory on the device"
                ) from error
        (logits, domains), (more_logits, more_domains) = (self._compute(part) for part in images.chunk(2))
        joined = {name: torch.cat([logits[name], more_logits[name]]) for name in logits}
        return joined, None if domains is None or more_domains is None else torch.cat([domains, more_domains])

    def _output(self, batch: DomainBatch) -> BatchOutput:
        return output_of(self.method, batch) if self.tta is None else output_over_views(self.method, batch, self.tta)

    @property
    def _layout(self) -> torch.memory_format:
        """The memory layout of images in which the network computes fastest, as far as it has been measured."""
        is_faster = self.device.type == "cpu" and self._takes_channels_last
        return torch.channels_last if is_faster else torch.contiguous_format

    @cached_property
    def _takes_channels_last(self) -> bool:
        """Whether the method predicts images in the channels-last layout, which ``view`` in a network may refuse."""
        try:
            ensembles_of(self.method, torch.channels_last)
        except RuntimeError:
            return False
        return True


def _on_cpu(output: BatchOutput) -> Computed:
    domains = None if output.domains is None else output.domains.float().cpu()
    return {name: logits.float().cpu() for name, logits in output.logits.items()}, domains


def ensembles_of(method: Method, layout: torch.memory_format = torch.contiguous_format) -> tuple[str, ...]:
    """Return the ensembles that a method predicts, determined with one empty image in a memory layout."""
    size = method.network.image_size
    first = next(method.parameters())
    images = torch.zeros(1, 3, size, size, dtype=first.dtype, device=first.device).contiguous(memory_format=layout)
    with torch.inference_mode():
        return tuple(method.predict(DomainBatch(images, None, None, torch.zeros(1, dtype=torch.int64))))
