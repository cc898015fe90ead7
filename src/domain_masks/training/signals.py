"""Signals that wait until the state of a run can be saved."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any, Self

import torch
from lightning_fabric import Fabric

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")


class Interruption:
    """Holds back Ctrl-C, SIGTERM and SIGHUP within a block, so that a step that has started is finished and saved.

    The first signal is recorded; the block polls for it between two steps, saves, and calls :meth:`reraise_signal`. A second
    one is delivered at once, and what was not saved is lost. Outside of the main thread, where Python receives no signals,
    nothing is held back.
    """

    def __init__(self, fabric: Fabric) -> None:
        self._fabric = fabric
        self._before: dict[int, Any] = {}
        self.received: int | None = None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for name in _NAMES:
                number = getattr(signal, name, None)
                # A signal that is ignored, as by nohup, stays so; None: a handler that Python did not install.
                if number is not None and signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        if self.received is not None:
            self.reraise_signal()
        self.received = number

    def _restore(self) -> None:
        while self._before:
            signal.signal(*self._before.popitem())

    def poll(self, due: bool = False) -> tuple[bool, bool]:
        """Return (interrupted, due), the same on all processes: a signal to one stops all, and the first one's clock counts."""
        if self._fabric.world_size == 1:
            return self.received is not None, due
        mine = [float(self.received is not None), float(due and self._fabric.is_global_zero)]
        flags = torch.tensor(mine, device=self._fabric.device)
        torch.distributed.all_reduce(flags, op=torch.distributed.ReduceOp.MAX)
        interrupted, anyone_due = (bool(flag) for flag in flags.tolist())
        return interrupted, anyone_due

    def reraise_signal(self) -> None:
        """Re-raise the signal outside of the block, which raises KeyboardInterrupt or ends the process."""
        number = self.received if self.received is not None else signal.SIGTERM
        self._restore()
        signal.raise_signal(number)
