"""Images as files, of all sizes, shapes, modes and orientations."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image


def picture(seed: int, width: int, height: int) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 4 + 1, width // 4 + 1, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def odd_images(root: Path) -> Path:
    """Two domains and two classes; images of all sizes, shapes, modes and orientations, one of them twice."""
    turned = Image.Exif()
    turned[0x0112] = 6
    made: dict[str, Callable[[Path], None]] = {
        "halved.jpg": lambda path: picture(1, 140, 140).save(path),
        "quartered.jpg": lambda path: picture(2, 700, 300).save(path, quality=95),
        "wide.png": lambda path: picture(3, 90, 31).save(path),
        "tall.png": lambda path: picture(4, 40, 200).save(path),
        "small.png": lambda path: picture(5, 9, 7).save(path),
        "grey.jpg": lambda path: picture(6, 64, 50).convert("L").save(path),
        "clear.png": lambda path: picture(7, 60, 50).convert("RGBA").rotate(30).save(path),
        "turned.jpg": lambda path: picture(8, 280, 160).save(path, exif=turned),
        "deep.png": lambda path: Image.fromarray(np.arange(6400, dtype=np.uint16).reshape(80, 80) * 9).save(path),
        "exact.png": lambda path: picture(9, 32, 32).save(path),
    }
    for domain in "ab":
        for class_name in "xy":
            folder = root / domain / class_name
            folder.mkdir(parents=True)
            for name, save in made.items():
                save(folder / name)
            picture(ord(domain) * ord(class_name), 50, 60).save(folder / "own.png")
    return root
