"""A Ray cluster of two nodes on loopback, one of which is killed while it carries out a run.

Run as a script: ``cluster.py FOLDER``; prints a JSON of what came out.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from domain_masks.cli import main as dmg

COMMAND = ["benchmark", "--methods", "dmg", "aggregate", "--targets", "ink", "mosaic", "--device", "cpu"]
COMMAND += ["--epochs", "25", "--batch", "128"]
LOOPBACK = "127.0.0.2"
"""Of 127.0.0.1 Ray takes the address of the network in its place."""


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
    temporary = tempfile.mkdtemp(prefix="dmg-ray-")
    os.environ |= {"RAY_TMPDIR": temporary, "RAY_USAGE_STATS_ENABLED": "0"}
    from ray.cluster_utils import Cluster  # noqa: PLC0415

    alone = dmg([*COMMAND, "--out", str(root / "alone"), "--quiet"])
    node = {"num_cpus": 1, "node_ip_address": LOOPBACK, "object_store_memory": 80 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    seen: dict[str, Any] = {"alone": alone}
    try:
        second = cluster.add_node(**node)
        arguments = (cluster, second, root / "cluster", seen)
        threading.Thread(target=kill_in_the_middle, args=arguments, daemon=True).start()
        command = [*COMMAND, "--out", str(root / "cluster"), "--launcher", "ray", "--ray_address", cluster.address]
        seen["status"] = dmg(command)
    finally:
        cluster.shutdown()
        shutil.rmtree(temporary, ignore_errors=True)
    sys.stdout.flush()
    print("\n" + json.dumps(seen))


if __name__ == "__main__":
    main(*sys.argv[1:])
