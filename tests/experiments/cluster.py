"""A Ray cluster of two nodes on loopback, one of which is killed while it carries out a run.

Run as a script: ``cluster.py FOLDER``; prints a JSON of what came out.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

from domain_masks.cli import main as dmg
from experiments.two_nodes_of_ray import two_nodes

COMMAND = ["benchmark", "--methods", "dmg", "aggregate", "--targets", "ink", "mosaic", "--device", "cpu"]
COMMAND += ["--epochs", "12", "--batch", "128"]


def rows(folder: Path) -> int:
    """Return how many epochs the log of a run has."""
    log = folder / "metrics.csv"
    return len(log.read_text().splitlines()) - 1 if log.exists() else 0


def kill_in_the_middle(cluster: Any, node: Any, runs: Path, seen: dict[str, Any]) -> None:
    """Wait until both nodes are at a run each, then kill one."""
    while len(at := [log.parent for log in runs.rglob("metrics.csv") if rows(log.parent) >= 2]) < 2:
        time.sleep(0.02)
    seen["unfinished"] = sum(not (run / "results.json").exists() for run in at)
    cluster.remove_node(node, allow_graceful=False)
    seen["killed"] = True


def main(folder: str) -> None:
    """Carry out a benchmark alone, and on the cluster."""
    root = Path(folder)
    os.environ["DMG_CACHE"] = str(root / "cache")
    alone = dmg([*COMMAND, "--out", str(root / "alone"), "--quiet"])
    seen: dict[str, Any] = {"alone": alone}
    with two_nodes() as (cluster, second):
        arguments = (cluster, second, root / "cluster", seen)
        threading.Thread(target=kill_in_the_middle, args=arguments, daemon=True).start()
        command = [*COMMAND, "--out", str(root / "cluster"), "--launcher", "ray", "--ray_address", cluster.address]
        seen["status"] = dmg(command)
    sys.stdout.flush()
    print("\n" + json.dumps(seen))


if __name__ == "__main__":
    main(*sys.argv[1:])
