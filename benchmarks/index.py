"""The index of a dataset of 600,000 images in 6 domains and 345 classes, relative to torchvision's lists of files.

Both start from the lines of DomainNet's lists in memory or on disk, and no image is looked at. The lists are what
``torchvision.datasets.ImageFolder`` keeps: ``samples`` of (path, label), and ``targets``. Memory is what a process has more
of after building, as it is resident; what a worker gets is what is pickled for a process that is not forked.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from timing import Conditions, Measurement

IMAGES, FAST_IMAGES = 600_000, 6_000
DOMAINS = ("clipart", "infograph", "painting", "quickdraw", "real", "sketch")
CLASSES = 345
OURS = """
from domain_masks.data.domainnet import DOMAINS, read_lists
from domain_masks.data.file_dataset import dataset_of_files
from domain_masks.data.image_reading import ImageReader
from domain_masks.data import Subset, default_preprocessing
import numpy as np
def build(folder):
    files, classes = read_lists(folder, DOMAINS)
    return dataset_of_files("domainnet", folder, files, (DOMAINS, classes), np.zeros(0, dtype=np.int64))
def sent(dataset):
    subset = Subset(dataset, np.arange(len(dataset)))
    return ImageReader(subset, default_preprocessing(dataset), None)
"""
THEIRS = """
import torch
def build(folder):
    samples = []
    for file in sorted(folder.glob("*.txt")):
        for line in file.read_text().splitlines():
            path, label = line.rsplit(" ", 1)
            samples.append((str(folder) + "/" + path, int(label)))
    return samples, [label for _, label in samples]
def sent(lists):
    return lists
"""
CHILD = """
import sys, time
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
import torch
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6
folder = Path(sys.argv[1])
before, started = resident(), time.process_time()
index = build(folder)
print(time.process_time() - started, resident() - before, len(ForkingPickler.dumps(sent(index))) / 1e6)
"""
MEASURED = (
    ("CPU seconds of indexing {} images", "s"),
    ("memory of the index of {} images", "MB"),
    ("bytes sent to a worker, of the index of {} images", "MB"),
)


def measure(conditions: Conditions) -> Iterator[Measurement]:
    """Yield the ratios of CPU seconds, resident memory and bytes per worker; each index in a process of its own."""
    count = FAST_IMAGES if conditions.fast else IMAGES
    with tempfile.TemporaryDirectory() as folder:
        write_lists(Path(folder), count)
        rounds = [
            (_measured(OURS, folder), _measured(THEIRS, folder)) for _ in range(max(2, conditions.budget.rounds - 2))
        ]
    for place, (name, unit) in enumerate(MEASURED):
        ours, theirs = ([one[place] for one in side] for side in zip(*rounds, strict=True))
        middle = len(rounds) // 2
        yield Measurement(
            name.format(f"{count:,}"),
            "those of torchvision's lists of files",
            [max(one, 1e-6) / max(other, 1e-6) for one, other in zip(ours, theirs, strict=True)],
            f"{sorted(ours)[middle]:.3g} against {sorted(theirs)[middle]:.3g} {unit}",
        )


def write_lists(folder: Path, count: int) -> None:
    """Write training and test lists of ``count`` images, spread evenly over domains and classes."""
    for place, domain in enumerate(DOMAINS):
        lines = [
            f"{domain}/class_{row % CLASSES:03d}/{domain}_{row % CLASSES:03d}_{row:06d}.jpg {row % CLASSES}\n"
            for row in range(count // len(DOMAINS) * place, count // len(DOMAINS) * (place + 1))
        ]
        third = len(lines) // 3
        (folder / f"{domain}_test.txt").write_text("".join(lines[:third]), encoding="utf-8")
        (folder / f"{domain}_train.txt").write_text("".join(lines[third:]), encoding="utf-8")


def _measured(code: str, folder: str) -> tuple[float, float, float]:
    done = subprocess.run([sys.executable, "-c", code + CHILD, folder], check=True, capture_output=True, text=True)
    seconds, memory, sent = map(float, done.stdout.split())
    return seconds, memory, sent
