"""``dmg train`` on two nodes with one process each, as torchrun starts them; the nodes share images, and no run folder.

Run as a script: ``two_nodes.py FOLDER``; prints a JSON per way of ending the run.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from domain_masks.cli import main as dmg
from training.connected import free_port, start, wait
from training.interrupting import images

EPOCHS = 12
LIMIT = 120.0
"""Seconds within which a node has to end once the other one has."""


class Nodes:
    """Two nodes with a working folder each, in which a relative run folder is another one on each node."""

    def __init__(self, root: Path, flags: Sequence[str]) -> None:
        self.root = root
        self.flags = flags
        self.logs = [root / f"log-{rank}" for rank in range(2)]
        for rank in range(2):
            (root / f"node-{rank}").mkdir()

    def start(self, out: str, *more: Sequence[str]) -> list[int]:
        """Start the command on both nodes, each with further flags of its own; returns the two processes."""
        port = free_port()

        def of(rank: int) -> int:
            def work() -> int:
                os.chdir(self.root / f"node-{rank}")
                os.environ["DMG_CACHE"] = str(self.root / f"cache-{rank}")
                return dmg([*self.flags, "--out", out, *(more[rank] if more else ())])

            return start(work, rank, processes=2, nodes=2, port=port, log=self.logs[rank])

        return [of(rank) for rank in range(2)]

    def said(self) -> list[str]:
        """Return what each node has said."""
        return [log.read_text(encoding="utf-8") for log in self.logs]

    def model(self, out: str) -> str:
        """Return a hash of the model that the first node has left."""
        return hashlib.sha256((self.root / "node-0" / out / "model.safetensors").read_bytes()).hexdigest()

    def wait_for_epochs(self, out: str, epochs: int) -> None:
        """Wait until the first node has written so many rows, or neither runs any more."""
        metrics = self.root / "node-0" / out / "metrics.csv"
        until = time.monotonic() + LIMIT
        while not metrics.exists() or metrics.read_text(encoding="utf-8").count("\n") <= epochs:
            if time.monotonic() > until:
                raise SystemExit(f"no epoch was done: {self.said()}")
            time.sleep(0.005)


def ended(processes: Sequence[int]) -> list[int]:
    """Wait for both; a node that does not end by itself is killed."""
    statuses, until = [], time.monotonic() + LIMIT
    for process in processes:
        while os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            if time.monotonic() > until:
                os.kill(process, signal.SIGKILL)
            time.sleep(0.02)
        statuses.append(wait(process))
    return statuses


def tell(way: str, statuses: list[int], nodes: Nodes, **more: Any) -> None:
    """Print what came out."""
    files = sorted(path.name for path in (nodes.root / "node-1").rglob("*"))
    print(json.dumps({"way": way, "statuses": statuses, "said": nodes.said(), "files": files, **more}), flush=True)


def flags(root: Path) -> list[str]:
    """Return the command on the images below ``root``; no half of its batches is whole."""
    given = ["train", "--dataset", str(root / "images"), "--target", "stripes", "--backbone", "small", "--size", "16"]
    given += ["--epochs", str(EPOCHS), "--batch", "31", "--optimizer", "sgd", "--lr", "0.01", "--device", "cpu"]
    return [*given, "--workers", "0"]


def main(folder: str) -> None:
    """Train, end one of the nodes in each way, and resume."""
    root = Path(folder).resolve()
    images(root)
    nodes = Nodes(root, flags(root))
    tell("whole", ended(nodes.start("whole")), nodes, model=nodes.model("whole"))
    for way, number, rank in (("killed", signal.SIGKILL, 1), ("first killed", signal.SIGKILL, 0)):
        out = way.replace(" ", "-")
        processes = nodes.start(out)
        nodes.wait_for_epochs(out, 3)
        os.kill(processes[rank], number)
        statuses, said = ended(processes), nodes.said()
        resumed = ended(nodes.start(out, ["--resume"], ["--resume"]))
        tell(way, statuses, nodes, said_first=said, resumed=resumed, model=nodes.model(out))
    processes = nodes.start("interrupted")
    nodes.wait_for_epochs("interrupted", 3)
    os.kill(processes[1], signal.SIGINT)
    statuses, said = ended(processes), nodes.said()
    resumed = ended(nodes.start("interrupted", ["--resume"], ["--resume"]))
    tell("interrupted", statuses, nodes, said_first=said, resumed=resumed, model=nodes.model("interrupted"))
    tell("other settings", ended(nodes.start("other", [], ["--seed", "1"])), nodes)
    tell("missing images", ended(nodes.start("missing", [], ["--dataset", "nowhere"])), nodes)
    tell("folder is taken", ended(nodes.start("whole")), nodes)
    tell("finished", ended(nodes.start("whole", ["--resume"], ["--resume"])), nodes)


if __name__ == "__main__":
    main(*sys.argv[1:])
