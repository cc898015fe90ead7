"""Functions of the user's that are called while a run trains: they see it, may stop it, and change no random number of it."""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from lightning_fabric import Fabric

from domain_masks.errors import InputError, nearest
from domain_masks.methods import Method
from domain_masks.records import RunFolder
from domain_masks.records.config import RunConfig
from domain_masks.torch_globals import EXCLUSIVE
from domain_masks.training.finished_run import Run
from domain_masks.training.waiting import long_on_main_process

_HOOKS = ("on_train_start", "on_epoch_end", "on_train_end")


@dataclass(frozen=True, repr=False)
class TrainStart:
    """What a run is when its training starts.

    - ``config``: its settings, with all defaults
    - ``epochs``: how many are planned; ``epochs_done`` is above 0 where the run is resumed
    - ``method``: the method with its network, to look at
    """

    folder: RunFolder
    config: RunConfig
    epochs: int
    epochs_done: int
    method: Method

    def __repr__(self) -> str:
        return (
            f"TrainStart({self.config.method_name}, {self.epochs} epochs, {self.epochs_done} done; {self.folder.path})"
        )


@dataclass(frozen=True, repr=False)
class EpochEnd:
    """An epoch that has ended: it is validated, and written to ``metrics.csv`` and the checkpoint.

    - ``epoch``: counted from 1, of ``epochs``
    - ``metrics``: the row of ``metrics.csv``: ``loss``, ``validation_accuracy`` and others
    - ``is_best``: whether it is the best epoch by now
    - ``method``: the method with its network in evaluation mode, to look at
    """

    epoch: int
    epochs: int
    metrics: Mapping[str, float]
    is_best: bool
    method: Method
    folder: RunFolder

    def __repr__(self) -> str:
        return f"EpochEnd({self.epoch} of {self.epochs}, loss {self.metrics.get('loss', float('nan')):.4g})"


class Callback:
    """What is called while a run trains; a subclass overrides what it needs.

    With several processes the first one alone calls them, and the others wait.
    """

    def on_train_start(self, start: TrainStart) -> None:
        """Before the first epoch, also of a run that is resumed."""

    def on_epoch_end(self, epoch: EpochEnd) -> bool | None:
        """After every epoch; True stops the training after it, and the run is measured. An exception ends the run at once."""

    def on_train_end(self, run: Run) -> None:
        """When the run is measured and all its files are written."""


EpochFunction: TypeAlias = Callable[[EpochEnd], bool | None]


class Callbacks:
    """The callbacks of a run: objects with some of the methods of :class:`Callback`, or functions for ``on_epoch_end``.

    Torch's, NumPy's and Python's global random states are restored after each, and gradients are off within it.

    Raises InputError for anything else, and for a method ``on_...`` that is none of them.
    """

    def __init__(self, callbacks: Sequence[Callback | EpochFunction] | Callback | EpochFunction = ()) -> None:
        given = list(callbacks) if isinstance(callbacks, list | tuple) else [callbacks]
        mistakes = [line for line in map(_mistake, given) if line]
        if mistakes:
            raise InputError(f"callbacks: {'; '.join(mistakes)}")
        self._callbacks: list[Any] = given

    def train_start(self, fabric: Fabric, start: TrainStart) -> None:
        """Call ``on_train_start`` of all."""
        self._on_first_process(fabric, lambda: [call(start) for _, call in self._hooks("on_train_start")])

    def epoch_end(self, fabric: Fabric, epoch: EpochEnd) -> str:
        """Call ``on_epoch_end`` of all; returns the names of those that stop the training, on all processes."""
        training = epoch.method.training
        epoch.method.eval()
        stopping: str | None = self._on_first_process(
            fabric, lambda: ", ".join(name for name, call in self._hooks("on_epoch_end") if _is_true(call(epoch)))
        )
        epoch.method.train(training)
        return stopping or ""

    def train_end(self, fabric: Fabric, run: Run) -> None:
        """Call ``on_train_end`` of all."""
        self._on_first_process(fabric, lambda: [call(run) for _, call in self._hooks("on_train_end")])

    def _on_first_process(self, fabric: Fabric, work: Callable[[], Any]) -> Any:
        if not self._callbacks:
            return None

        def apart() -> Any:
            with _apart(fabric.device):
                result = work()
            return result if isinstance(result, str) else None

        return long_on_main_process(fabric, apart)

    def _hooks(self, name: str) -> Iterator[tuple[str, Callable[[Any], Any]]]:
        for callback in self._callbacks:
            hook = getattr(callback, name, None)
            if hook is None and name == "on_epoch_end" and not _has_hooks(callback):
                hook = callback
            if hook is not None:
                yield getattr(callback, "__name__", type(callback).__name__), hook


@contextmanager
def _apart(device: torch.device) -> Iterator[None]:
    """Restore the global random states after the block, in which gradients are off."""
    numpy_state, python_state = np.random.get_state(), random.getstate()
    cuda = [device] if device.type == "cuda" else []
    try:
        with EXCLUSIVE, torch.random.fork_rng(devices=cuda), torch.no_grad():
            yield
    finally:
        np.random.set_state(numpy_state)
        random.setstate(python_state)


def _has_hooks(callback: object) -> bool:
    return any(callable(getattr(callback, name, None)) for name in _HOOKS)


def _mistake(callback: object) -> str:
    expected = "expected functions of an epoch, or objects of a subclass of dm.training.Callback"
    if inspect.isclass(callback):
        return f"{expected}, got the class {callback.__name__}: give an object, {callback.__name__}()"
    others = [name for name in dir(callback) if name.startswith("on_") and name not in _HOOKS]
    if _has_hooks(callback) and others:
        guess = nearest(others[0], _HOOKS)
        return (
            f"{type(callback).__name__}.{others[0]} is never called: expected {', '.join(_HOOKS)}"
            f"{f'. Did you mean {guess}?' if guess else ''}"
        )
    return "" if _has_hooks(callback) or callable(callback) else f"{expected}, got {callback!r}"


def _is_true(result: object) -> bool:
    return isinstance(result, bool | np.bool_) and bool(result)
