"""Small images made on the spot: three domains, three classes, a colour per class and a texture per domain."""

from __future__ import annotations

import numpy as np
from PIL import Image

from domain_masks.data import ImageDataset
from domain_masks.data.dataset import fingerprint_of
from domain_masks.records.config import RunConfig, parse_config

DOMAINS = ("dots", "plain", "stripes")
CLASSES = ("blue", "green", "red")
SETTINGS = {
    "dataset": "generated",
    "backbone": "small",
    "weights": "none",
    "size": 16,
    "augmentation": "standard",
    "workers": 0,
    "epochs": 3,
    "batch": 16,
    "lr": 3e-3,
    "target": "stripes",
    "device": "cpu",
}


class Opener:
    in_memory = True

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels = pixels

    def __call__(self, row: int) -> Image.Image:
        return Image.fromarray(self.pixels[row])


def pixels_of(domain: int, label: int, random: np.random.Generator) -> np.ndarray:
    image = random.integers(0, 80, (18, 18, 3))
    image[..., 2 - label] += 120
    if domain == 0:
        image[::4, ::4] = 255
    elif domain == 2:
        image[::3] //= 2
    return image.astype(np.uint8)


def dataset(per_class: int = 20, labels_type: type[np.ndarray] | None = None) -> ImageDataset:
    random = np.random.default_rng(0)
    rows = [(d, c, n) for d in range(3) for c in range(3) for n in range(per_class)]
    pixels = np.stack([pixels_of(d, c, random) for d, c, _ in rows])
    labels = np.array([c for _, c, _ in rows], dtype=np.int64)
    domains = np.array([d for d, _, _ in rows], dtype=np.int64)
    return ImageDataset(
        name="generated",
        classes=CLASSES,
        domains=DOMAINS,
        ids=tuple(f"{DOMAINS[d]}/{CLASSES[c]}/{n}.png" for d, c, n in rows),
        labels=labels if labels_type is None else labels.view(labels_type),
        domain_indices=domains,
        splits=None,
        open_image=Opener(pixels),
        fingerprint=fingerprint_of([DOMAINS, CLASSES], [labels, domains], pixels.tobytes()),
    )


def config(**changes: object) -> RunConfig:
    return parse_config({**SETTINGS, **changes})
