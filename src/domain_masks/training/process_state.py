"""What the process around a run may not change in it, and gets back from it: PyTorch's settings for the whole process."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

import torch

from domain_masks.progress import Reporter
from domain_masks.torch_globals import default_tensors

_RUNNING = threading.RLock()
_VARIABLES = ("CUBLAS_WORKSPACE_CONFIG", "OMP_NUM_THREADS")
"""Variables of the environment that a run, or what it stands on, may set."""


@contextmanager
def fresh_process_state(reporter: Reporter) -> Iterator[None]:
    """Give the block PyTorch as a new process has it, and the caller everything back as it was.

    Gradients are on, autocast and inference mode off, new tensors are single precision on the CPU, whatever the caller has
    chosen for its own. Whether only deterministic operations are allowed, cuDNN's search, the number of threads, random
    numbers and variables of the environment may be changed within. As all this belongs to the whole process, another
    thread that comes here waits for the end of the block.
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
