"""Global state of PyTorch that code must set explicitly."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

EXCLUSIVE = threading.RLock()
"""Held by a thread while it changes state that all threads share, such as the global random state or ``nn.Module``."""


@contextmanager
def default_tensors() -> Iterator[None]:
    """Create new tensors in single precision on the CPU within the block, whatever the caller's defaults are."""
    import torch  # noqa: PLC0415 - the lock is used without it

    with ExitStack() as stack:
        if torch.get_default_dtype() != torch.float32:
            stack.callback(torch.set_default_dtype, torch.get_default_dtype())
            torch.set_default_dtype(torch.float32)
        if default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        yield


def default_device() -> torch.device:
    """Return the device of new tensors."""
    import torch  # noqa: PLC0415

    try:
        return torch.get_default_device()
    except AttributeError:  # of torch 2.8 after torch.set_default_device(None)
        return torch.device("cpu")
