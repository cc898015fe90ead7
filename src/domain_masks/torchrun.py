"""What torchrun and Lightning Fabric tell a process about its place in the run; read from the environment, without torch."""

from __future__ import annotations

import os
from dataclasses import dataclass

_RUN = "TORCHELASTIC_RUN_ID"


@dataclass(frozen=True)
class Torchrun:
    """The processes that torchrun has started.

    - ``processes``: how many there are on all nodes; ``on_this_node``: how many of them run here
    """

    processes: int
    on_this_node: int

    @property
    def nodes(self) -> int:
        """How many nodes there are, each with as many processes as this one."""
        return self.processes // self.on_this_node


def torchrun() -> Torchrun | None:
    """Return what torchrun has started; None where it has not started this process, or no other."""
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if _RUN not in os.environ or processes == 1:
        return None
    return Torchrun(processes, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def is_main_process() -> bool:
    """Whether this is the first process of a run; known before the others are launched."""
    return int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0"))) == 0
