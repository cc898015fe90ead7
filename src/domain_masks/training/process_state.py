"""PyTorch's global settings: at their defaults within a run, and restored after it."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

import torch

from domain_masks.progress import Reporter
from domain_masks.torch_globals import default_tensors

_RUNNING = threading.RLock()
_VARIABLES = ("CUBLAS_WORKSPACE_CONFIG", "OMP_NUM_THREADS")
"""Environment variables that a run, or a library below it, may set."""


@contextmanager
def fresh_process_state(reporter: Reporter) -> Iterator[None]:
    """Run the block with PyTorch's settings as in a new process, and restore the caller's afterwards.

    Gradients are on, autocast and inference mode off, and new tensors are single precision on the CPU, whatever the caller
    has set. The block may change the deterministic mode, cuDNN's benchmark mode, the number of threads, the random state and
    environment variables. As these belong to the whole process, a second thread waits for the end of the block.
    """
    if not _RUNNING.acquire(blocking=False):
        reporter.say("waiting for another run in this process, which has to end first")
        _RUNNING.acquire()
    try:
        before = {name: os.environ.get(name) for name in _VARIABLES}
        with ExitStack() as stack:
            stack.callback(_set_variables, before)
            stack.callback(torch.set_num_threads, torch.get_num_threads())
            stack.callback(
                torch.use_deterministic_algorithms,
                torch.are_deterministic_algorithms_enabled(),
                warn_only=torch.is_deterministic_algorithms_warn_only_enabled(),
            )
            stack.callback(setattr, torch.backends.cudnn, "benchmark", torch.backends.cudnn.benchmark)
            stack.enter_context(default_tensors())
            for kind in ("cpu", "cuda"):
                if torch.is_autocast_enabled(kind):
                    stack.enter_context(torch.autocast(kind, enabled=False))
            stack.enter_context(torch.random.fork_rng(devices=[]))
            # Importing Rich draws from Python's generator, which a run itself does not use.
            stack.callback(random.setstate, random.getstate())
            stack.enter_context(torch.inference_mode(mode=False))
            stack.enter_context(torch.enable_grad())
            yield
    finally:
        _RUNNING.release()


def _set_variables(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
