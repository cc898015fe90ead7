"""The choice of the device, ``--device`` and ``device=``, and how tensors get there."""

from __future__ import annotations

import torch
from torch import Tensor

from domain_masks.errors import InputError, unknown

DEVICES = ("auto", "cpu", "cuda")


def choose_device(name: str) -> torch.device:
    """Return the device for ``auto``, ``cpu`` or ``cuda`` (``cuda:1``); raises InputError where it is not available."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda") or (index and not index.isdecimal()):
        raise unknown("device", name, DEVICES)
    if kind == "cuda" and (not torch.cuda.is_available() or int(index or 0) >= torch.cuda.device_count()):
        raise InputError(f"device {name!r} is not available here: use cpu, or auto for the best there is")
    return torch.device(name)


def moved(tensor: Tensor, device: torch.device | str) -> Tensor:
    """Return a tensor on ``device``, copied to a GPU without a synchronisation; a copy to the CPU waits for its values."""
    target = torch.device(device)
    if target.type == "cuda" and tensor.device.type == "cpu":
        # From pageable memory CUDA may copy only after the work that is queued.
        tensor = tensor.pin_memory()
    return tensor.to(target, non_blocking=target.type != "cpu")
