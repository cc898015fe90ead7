"""Folders domain/class/image on the disk, clean to begin with, and the ways to break them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

DOMAINS = ("art", "photo", "sketch")
CLASSES = ("cat", "dog")
PER_CLASS = 10
SIDE = 32


def pixels(seed: int, side: int = SIDE) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)


def save(path: Path, seed: int, side: int = SIDE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(seed, side)).save(path)
    return path


def clean(root: Path) -> Path:
    seed = 0
    for domain in DOMAINS:
        for class_name in CLASSES:
            for number in range(PER_CLASS):
                save(root / domain / class_name / f"{number}.{'jpg' if number % 2 else 'png'}", seed)
                seed += 1
    return root


def cut(path: Path, kept: float = 0.5) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    return path
