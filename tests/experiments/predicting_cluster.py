"""Prediction on a Ray cluster of two nodes on loopback, one of which is killed while it computes a shard.

Run as a script: ``predicting_cluster.py FOLDER``; prints a JSON of what came out.
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
from domain_masks.data import load_digits_dataset
from experiments.two_nodes_of_ray import two_nodes


def kill_in_the_middle(cluster: Any, node: Any, shards: Path, seen: dict[str, Any]) -> None:
    """Wait until a few shards are finished, then kill a node."""
    while (finished := len(list(shards.glob("[0-9]*.shard")))) < 3:
        time.sleep(0.005)
    cluster.remove_node(node, allow_graceful=False)
    seen["finished"] = finished


def main(folder: str) -> None:
    """Predict alone, and on the cluster."""
    root = Path(folder)
    os.chdir(root)
    os.environ["DMG_CACHE"] = str(root / "cache")
    seen: dict[str, Any] = {"trained": dmg(["train", "--fast", "--device", "cpu", "--quiet", "--out", "run"])}
    data = load_digits_dataset()
    Path("digits").mkdir()
    for row in range(1200):
        data.open_image(row % len(data)).save(f"digits/{row:04d}.png")
    Path("digits/0700-empty.png").touch()
    words = ["predict", "run", "digits", "--device", "cpu", "--batch", "8"]
    seen["alone"] = dmg([*words, "--out", "alone.csv", "--errors", "alone-bad.csv", "--quiet"])
    with two_nodes() as (cluster, second):
        arguments = (cluster, second, root / "cluster.csv.shards", seen)
        threading.Thread(target=kill_in_the_middle, args=arguments, daemon=True).start()
        words += ["--out", "cluster.csv", "--errors", "cluster-bad.csv", "--shard", "48", "--launcher", "ray"]
        seen["status"] = dmg([*words, "--ray_address", cluster.address])
    sys.stdout.flush()
    print("\n" + json.dumps(seen))


if __name__ == "__main__":
    main(*sys.argv[1:])
