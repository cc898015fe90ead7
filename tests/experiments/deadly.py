"""Images that kill the process that opens one, once, as the system does where memory runs out."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path

import numpy as np
from PIL import Image

import generated


class DeadlyOpener(generated.Opener):
    """Kills the first child process that opens an image again while ``trigger`` is there, and opens images for all others.

    A process opens all of them for the dataset's fingerprint, before its run has a folder.
    """

    def __init__(self, pixels: np.ndarray, trigger: Path) -> None:
        super().__init__(pixels)
        self.trigger = trigger
        self.opened: set[tuple[int, int]] = set()

    def __call__(self, row: int) -> Image.Image:
        if multiprocessing.parent_process() is None or (os.getpid(), row) not in self.opened:
            self.opened.add((os.getpid(), row))
            return super().__call__(row)
        try:
            self.trigger.unlink()
        except FileNotFoundError:
            return super().__call__(row)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError
