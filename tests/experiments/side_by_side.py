"""Benchmarks side by side in one folder: a process that has imported everything forks ``dmg benchmark`` and looks on.

Run as a script: ``side_by_side.py FOLDER``; prints a JSON of what came out.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

from domain_masks.cli import main as dmg
from training.interrupting import start, wait

COMMAND = ["benchmark", "--methods", "dmg", "aggregate", "--targets", "ink", "mosaic", "--device", "cpu"]
COMMAND += ["--epochs", "3", "--batch", "128"]
BEGINS = ", held out: "


def begun(log: Path) -> int:
    return log.read_text().count(BEGINS) if log.exists() else 0


def side_by_side(root: Path) -> dict[str, object]:
    """Two at once, from the same moment on; every run once, and both show the whole table."""
    logs = [root / "first.log", root / "second.log"]
    processes = [start([*COMMAND, "--out", str(root / "shared")], log) for log in logs]
    statuses = [wait(process) for process in processes]
    tables = [log.read_text().count("out of domain (all)") for log in logs]
    return {
        "statuses": statuses,
        "begun": [begun(log) for log in logs],
        "tables": tables,
        "logs": [log.read_text() for log in logs],
    }


def one_is_killed(root: Path) -> dict[str, object]:
    """The first is killed in the middle of a run that the second waits for."""
    first, second = root / "killed.log", root / "heir.log"
    command = [*COMMAND, "--methods", "dmg", "--targets", "ink", "--epochs", "12", "--out", str(root / "inherited")]
    killed = start(command, first)
    metrics = root / "inherited" / "dmg" / "ink" / "seed-0" / "metrics.csv"
    while not metrics.exists():
        time.sleep(0.01)
    heir = start(command, second)
    while not second.exists() or "waiting for another benchmark" not in second.read_text():
        time.sleep(0.01)
    os.kill(killed, signal.SIGKILL)
    wait(killed)
    return {"status": wait(heir), "epochs": len(metrics.read_text().splitlines()) - 1, "said": second.read_text()}


def main(folder: str) -> None:
    """Carry out both, and a benchmark alone to compare with."""
    root = Path(folder)
    os.environ["DMG_CACHE"] = str(root / "cache")
    if status := wait(start([*COMMAND, "--out", str(root / "alone")], root / "alone.log")):
        raise SystemExit(f"the undisturbed benchmark ended with {status}: {(root / 'alone.log').read_text()}")
    print(json.dumps({"side_by_side": side_by_side(root), "one_is_killed": one_is_killed(root)}))


if __name__ == "__main__":
    dmg(["--version"])
    main(*sys.argv[1:])
