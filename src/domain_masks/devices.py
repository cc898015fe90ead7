"""The choice of the device: ``--device`` and ``device=``."""

from __future__ import annotations

import torch

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
