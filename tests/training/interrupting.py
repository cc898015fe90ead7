"""The command line, interrupted: a process that has imported everything forks ``dmg train`` and sends it signals.

Run as a script: ``interrupting.py FOLDER``; prints a JSON of what came out, a line per way of interrupting.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

from PIL import Image

import generated
from domain_masks.cli import main as dmg
from domain_masks.training.checkpoints import load_checkpoint

WAYS: dict[str, dict[str, Any]] = {
    "Ctrl-C": {"signal": signal.SIGINT, "flags": []},
    "SIGTERM": {"signal": signal.SIGTERM, "flags": ["--method", "multi_headed"]},
    "Ctrl-C with workers": {"signal": signal.SIGINT, "flags": ["--workers", "2"]},
    "SIGTERM with workers": {"signal": signal.SIGTERM, "flags": ["--workers", "2"]},
    "SIGTERM with frozen features": {"signal": signal.SIGTERM, "flags": ["--freeze_features", "--views", "1"]},
    "SIGTERM with accumulation": {"signal": signal.SIGTERM, "flags": ["--accumulate", "3"]},
}


def images(folder: Path) -> Path:
    dataset = generated.dataset(20)
    for row, name in enumerate(dataset.ids):
        (folder / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        image: Image.Image = dataset.open_image(row)
        image.save(folder / "images" / name)
    return folder / "images"


def start(arguments: list[str], log: Path) -> int:
    """Fork the command in a process group of its own, as a terminal would; what it says goes to ``log``."""
    process = os.fork()
    if process:
        return process
    os.setpgrp()
    output = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    status = dmg(arguments)
    sys.stdout.flush()
    os._exit(status)


def wait(process: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def digest(run: Path) -> str:
    return hashlib.sha256((run / "model.safetensors").read_bytes()).hexdigest()


def wait_for(path: Path, process: int) -> None:
    while not path.exists() and os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        time.sleep(0.005)


def main(folder: str) -> None:
    """Interrupt in each way, resume, and compare with a run without interruption."""
    root, chance = Path(folder), random.Random(0)
    os.environ["DMG_CACHE"] = str(root / "cache")
    base = ["train", "--dataset", str(images(root)), "--target", "stripes", "--backbone", "small", "--size", "16"]
    base += ["--epochs", "8", "--batch", "16", "--lr", "0.003", "--device", "cpu", "--workers", "0"]
    for name, way in WAYS.items():
        out, log = root / name.replace(" ", "-"), root / "log"
        command = [*base, *way["flags"], "--out"]
        if status := wait(start([*command, f"{out}-undisturbed"], log)):
            raise SystemExit(f"{name}: the undisturbed run ended with {status}: {log.read_text()}")
        process = start([*command, str(out)], log)
        wait_for(out / "metrics.csv", process)
        time.sleep(chance.uniform(0, 0.2))
        os.killpg(process, way["signal"])
        status, said = wait(process), log.read_text()
        last = out / "checkpoints" / "last.ckpt"
        place = load_checkpoint(last)["progress"] if last.exists() else {}
        resumed = wait(start(["train", "--resume", "--out", str(out)], log))
        print(
            json.dumps(
                {
                    "way": name,
                    "status": status,
                    "said": said,
                    "epochs": place.get("epochs_done"),
                    "batches": place.get("batches_done"),
                    "resumed": resumed,
                    "equal": resumed == 0 and digest(out) == digest(Path(f"{out}-undisturbed")),
                }
            )
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
