"""The choice of the device, ``--device`` and ``device=``, and how tensors get there."""

from __future__ import annotations

import torch
from torch import Tensor

from domain_masks.errors import InputError, unknown

DEVICES = ("auto", "cpu", "cuda", "mps")


def choose_device(name: str) -> torch.device:
    """Return the device for ``auto``, ``cpu``, ``cuda`` (``cuda:1``) or ``mps``; raises InputError where it is not available.

    ``auto`` is a CUDA device if there is one, else Apple's GPU (``mps``), else the CPU.
    """
    if name == "auto":
        best = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        return torch.device(best)
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (index and not index.isdecimal()):
        raise unknown("device", name, DEVICES)
    if kind == "mps" and (not torch.backends.mps.is_available() or int(index or 0)):
        raise InputError(f"device {name!r} is not available here: use cpu, or auto for the best there is")
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


def exact(tensor: Tensor) -> Tensor:
    """Return a tensor in double precision; in single precision on Apple's GPUs, which have no other."""
    return tensor.float() if tensor.device.type == "mps" else tensor.double()
