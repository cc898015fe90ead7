"""The processes of a run: launching them, working on the first one, and noticing that one is lost."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import NoReturn, TypeVar, cast

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy

from domain_masks.devices import DEVICES, choose_device
from domain_masks.errors import DomainMasksError, InputError, LostProcessError
from domain_masks.methods.method_registry import described
from domain_masks.records import RunFolder
from domain_masks.records.config import RunConfig
from domain_masks.torchrun import torchrun
from domain_masks.training.waiting import raise_together

PRECISIONS = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}


TIMEOUT = timedelta(minutes=30)
"""How long a process waits for the others in an operation that all take part in; one that has ended is noticed at once."""

_T = TypeVar("_T")


def launch(config: RunConfig) -> Fabric:
    """Launch Lightning Fabric on the configured devices, with deterministic algorithms where they are set.

    Under torchrun the processes are there already, one per device of each node, and are only connected.

    Raises InputError where a device is not available.
    """
    accelerator = choose_device(config.device).type
    started = torchrun() if config.devices > 1 else None
    here, nodes = (config.devices, 1) if started is None else (started.on_this_node, started.nodes)
    if accelerator == "cuda" and here > torch.cuda.device_count():
        raise InputError(f"expected at most {torch.cuda.device_count()} devices, as many as there are, got {here}")
    if here * nodes != config.devices:
        raise InputError(
            f"torchrun has started {here} processes on this node and {config.devices} in all: expected as many on every node"
        )
    if accelerator == "mps" and (config.devices > 1 or config.precision != "32"):
        raise InputError(
            "device 'mps' computes in one process and in single precision: expected --devices 1 and --precision 32, got "
            f"{config.devices} and {config.precision}"
        )
    if accelerator == "mps" and described(config.method_name).is_closed_form():
        raise InputError(
            f"method {config.method_name!r} needs double precision, which device 'mps' lacks: use --device cpu"
        )
    if config.precision == "16" and accelerator == "cpu":
        raise InputError("precision '16' needs a GPU: use --precision bf16 or 32 on a CPU")
    fabric = Fabric(
        accelerator=accelerator,
        devices=here,
        num_nodes=nodes,
        strategy=DDPStrategy(timeout=TIMEOUT) if config.devices > 1 else "auto",
        precision=PRECISIONS[config.precision],  # type: ignore[arg-type]
    )
    fabric.launch()
    if config.deterministic:
        _use_deterministic_algorithms()
    return fabric


def tell_other_processes(device: str, problem: DomainMasksError) -> NoReturn:
    """Raise on all processes that torchrun has started what keeps this one from being launched.

    - ``device``: the device that was given, which may be none
    """
    started = torchrun()
    if started is not None and device in DEVICES:
        launch(RunConfig(device=device, devices=started.processes))
        raise_together(problem)
    raise problem


def on_main_process(fabric: Fabric, work: Callable[[], _T]) -> _T:
    """Return on all processes what ``work`` returns on the first one; where it raises a DomainMasksError, all raise it.

    The others wait, at most for :data:`TIMEOUT`; :mod:`domain_masks.training.waiting` is for longer work.
    """
    if fabric.world_size == 1:
        return work()
    result: _T | None = None
    problem: DomainMasksError | None = None
    if fabric.is_global_zero:
        try:
            result = work()
        except DomainMasksError as error:
            problem = error
    result, problem = fabric.broadcast((result, problem))
    if problem is not None:
        problem.on_all_processes = True
        raise problem
    return cast(_T, result)


@contextmanager
def irreproducible_operations_named() -> Iterator[None]:
    """Raise InputError where deterministic mode does not allow an operation of the run on its device."""
    try:
        yield
    except RuntimeError as error:
        operation, found, _ = str(error).partition(" does not have a deterministic implementation")
        if not found:
            raise
        raise InputError(
            f"deterministic: PyTorch has no reproducible {operation} for this device, which the run needs: use --device cpu, "
            "another backbone or method, or leave out --deterministic"
        ) from error


@contextmanager
def lost_processes_named(folder: RunFolder) -> Iterator[None]:
    """Raise LostProcessError, and say how the run is resumed, where another process has ended or does not answer."""
    try:
        yield
    except LostProcessError as error:
        raise LostProcessError(f"{error}. {_resuming(folder)}") from error
    except RuntimeError as error:
        # What PyTorch raises from Gloo has no type of its own.
        if not isinstance(error, torch.distributed.DistError) and "gloo" not in str(error):
            raise
        # Its first sentence, without the place in PyTorch's sources.
        reason = str(error).splitlines()[0].rpartition("] ")[2].partition(". ")[0]
        raise LostProcessError(
            f"another process of the run has ended, or has not answered for {TIMEOUT.seconds // 60} minutes ({reason}): its "
            f"own output says why. {_resuming(folder)}"
        ) from error


def _resuming(folder: RunFolder) -> str:
    there = f"The last checkpoint is whole: {folder.last}. " if folder.last.is_file() else ""
    return f"{there}Start all processes again, with --resume"


def _use_deterministic_algorithms() -> None:
    """Allow only operations that are bitwise reproducible on the same device.

    Where there is none, PyTorch raises an error that names the operation.
    """
    # cuBLAS reads it when it is first used, and is reproducible only with workspaces of a fixed size.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
