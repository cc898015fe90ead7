"""What PyTorch keeps once for a whole process, and code that stands on it must not leave to chance."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

EXCLUSIVE = threading.RLock()
"""Held by a thread while it changes what all threads share, such as the global random state or the class ``nn.Module``."""


@contextmanager
def default_tensors() -> Iterator[None]:
    """Make new tensors in single precision on the CPU within the block, whatever the caller has chosen for its own."""
    import torch  # noqa: PLC0415 - the lock is asked for without it

    with ExitStack() as stack:
        if torch.get_default_dtype() != torch.float32:
            stack.callback(torch.set_default_dtype, torch.get_default_dtype())
            torch.set_default_dtype(torch.float32)
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        yield
