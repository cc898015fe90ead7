"""Pictures that kill the process that opens one, once, as the system does where memory runs out."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
from PIL import Image

import generated


class DeadlyOpener(generated.Opener):
    """Kills the process that can remove ``trigger``, and opens pictures for all others."""

    def __init__(self, pixels: np.ndarray, trigger: Path) -> None:
        super().__init__(pixels)
        self.trigger = trigger

    def __call__(self, row: int) -> Image.Image:
        try:
            self.trigger.unlink()
        except FileNotFoundError:
            return super().__call__(row)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError
