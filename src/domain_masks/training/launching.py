"""The processes of a run: launching them, and writing on the first one."""

from __future__ import annotations

import os
from collections.abc import Callable

import torch
from lightning_fabric import Fabric

from domain_masks.devices import choose_device
from domain_masks.errors import InputError, RunFolderError
from domain_masks.records.config import RunConfig

PRECISIONS = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}


def launch(config: RunConfig) -> Fabric:
    """Launch Lightning Fabric on the configured devices, with deterministic algorithms where they are set.

    Raises InputError where a device is not available.
    """
    accelerator = choose_device(config.device).type
    if accelerator == "cuda" and config.devices > torch.cuda.device_count():
        raise InputError(
            f"expected at most {torch.cuda.device_count()} devices, as many as there are, got {config.devices}"
        )
    if config.precision == "16" and accelerator == "cpu":
        raise InputError("precision '16' needs a GPU: use --precision bf16 or 32 on a CPU")
    fabric = Fabric(
        accelerator=accelerator,
        devices=config.devices,
        strategy="ddp" if config.devices > 1 else "auto",
        precision=PRECISIONS[config.precision],  # type: ignore[arg-type]
    )
    fabric.launch()
    if config.deterministic:
        _use_deterministic_algorithms()
    return fabric


def on_main_process(fabric: Fabric, write: Callable[[], None]) -> None:
    """Write on the first process while the others wait; where that fails, all raise the same RunFolderError."""
    problem: RunFolderError | None = None
    if fabric.is_global_zero:
        try:
            write()
        except RunFolderError as error:
            problem = error
    if fabric.world_size > 1:
        problem = fabric.broadcast(problem)
    if problem is not None:
        raise problem


def _use_deterministic_algorithms() -> None:
    """Allow only operations that are bitwise reproducible on the same device.

    Where there is none, PyTorch raises an error that names the operation.
    """
    # cuBLAS reads it when it is first used, and is reproducible only with workspaces of a fixed size.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
