"""Global state of PyTorch that code must set explicitly."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

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
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        yield
