"""Worker processes that read images batch by batch."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from multiprocessing.reduction import ForkingPickler
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from domain_masks.data.packed_texts import PackedTexts

_Batch = TypeVar("_Batch")
_LAST_MOMENTS = 10  # seconds


def batch_loader(
    reader: Dataset[_Batch], batches: Iterable[Any], workers: int, prefetched: int = 2, **options: Any
) -> DataLoader[_Batch]:
    """Return a loader that reads whole ``batches`` with ``reader`` in ``workers`` processes, or in this process for 0.

    Each process reads ``prefetched`` batches ahead; ``options`` are passed to torch's DataLoader.
    """
    return DataLoader(
        reader,
        batch_size=None,
        sampler=batches,
        num_workers=workers,
        collate_fn=_as_it_is,
        worker_init_fn=outlive_signals,
        prefetch_factor=prefetched if workers else None,
        # Otherwise every pass would draw a number from torch's global generator.
        generator=torch.Generator(),
        **options,
    )


def outlive_signals(_worker: int) -> None:
    """Keep a worker alive when a signal is sent to the whole process group: the main process finishes its step first."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "alarm"):
        signal.signal(signal.SIGTERM, lambda _number, _frame: signal.alarm(_LAST_MOMENTS))


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Block SIGINT while processes are started: they inherit the blocked mask, and only this process is interrupted.

    A terminal sends the signal to all of them; a worker that dies of it would look like a failure of its own.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _as_it_is(batch: Any) -> Any:
    return batch


def shared(tensor: Tensor) -> Tensor:
    """Return a tensor with its numbers in shared memory, of which a process that is not forked gets the address alone."""
    return tensor.share_memory_()  # type: ignore[no-any-return, no-untyped-call]


def _sent(texts: PackedTexts) -> tuple[Callable[[Tensor, Tensor], PackedTexts], tuple[Tensor, Tensor]]:
    """Send texts to a process that is not forked in shared memory, which is filled once for all processes."""
    if texts.shared is None:
        texts.shared = tuple(shared(torch.from_numpy(part)) for part in (texts.buffer, texts.ends))
    return _received, texts.shared


def _received(buffer: Tensor, ends: Tensor) -> PackedTexts:
    return PackedTexts.of(buffer.numpy(), ends.numpy())


# Forked processes share the memory as it is.
ForkingPickler.register(PackedTexts, _sent)
