"""The speed of predicting files, relative to the bare network on the same images as tensors in memory; and its memory.

Timed are the steps of `dmg predict` after loading: find, read and prepare the files, run the method with all its
ensembles, write the rows. The bare network gets normalised batches in memory, and nothing is written. Also timed alone are
the two parts of predicting, each with the same number of workers: reading the files, and computing all ensembles of images
in memory. On a CPU both take turns on the same cores, so that together they take at least the sum of their times; with a
GPU the slower part alone decides.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from domain_masks.data import Preprocessing, default_preprocessing, evaluation_batches
from domain_masks.data.openers import FileOpener
from domain_masks.deploy import Model, load
from domain_masks.deploy.predicting.computing_threads import in_threads
from domain_masks.deploy.predicting.image_paths import find_images
from domain_masks.deploy.predicting.image_stream import read_batch
from domain_masks.deploy.predicting.prediction_writers import rows_to_file
from domain_masks.methods.saving import save_model
from domain_masks.records.model_card import ModelDescription
from loading import BATCHES, FAST_BATCHES, FAST_WORKLOADS, WORKLOADS, Images, generated, pacs
from steps import Workload, build
from timing import Budget, Conditions, Measurement, interleave

WORKERS = (0, 2)
CHUNK = 16
FEW, FAST_FEW = 500, 20
MANY = 10
ROUNDS = 2
CHILD = """
import resource, sys
from domain_masks.cli import main
status = main(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
sys.exit(status)
"""


def measure(conditions: Conditions) -> Iterator[Measurement]:
    """Yield images per second from files with 0 and 2 workers, against tensors in memory; then the peak memory."""
    workload = (FAST_WORKLOADS if conditions.fast else WORKLOADS)[0]
    count = workload.batch * (FAST_BATCHES if conditions.fast else BATCHES)
    with tempfile.TemporaryDirectory() as temporary:
        here = Path(temporary)
        images = pacs(conditions.root, count) if conditions.root else generated(here / "images", count)
        preprocessing = default_preprocessing(images.subset.dataset, workload.pixels)
        model = saved(workload, preprocessing, here / "model", conditions.device)
        yield from _speed(workload, images, model, here, conditions.budget)
        yield _memory(here, FAST_FEW if conditions.fast else FEW)


def saved(workload: Workload, preprocessing: Preprocessing, folder: Path, device: torch.device) -> Model:
    """Return DMG with random weights, saved and loaded as a user would load it."""
    method = build(workload, "dmg", torch.device("cpu")).eval()
    save_model(folder, method, workload.backbone, ModelDescription(preprocessing=preprocessing.to_dict()))
    return load(folder, device=device.type)


def paths_of(images: Images) -> list[str]:
    """Return the files of ``images``, in their order."""
    opener = images.subset.dataset.open_image
    if not isinstance(opener, FileOpener):
        raise TypeError("expected images that are files")
    return [str(opener.root / opener.paths[row]) for row in images.subset.indices.tolist()]


def _speed(workload: Workload, images: Images, model: Model, folder: Path, budget: Budget) -> Iterator[Measurement]:
    paths = paths_of(images)
    parts = list(evaluation_batches(images.subset, model.preprocessing, workload.batch))
    tensors = [model.preprocessing.normalize(part.images).to(model.device) for part in parts if part.images is not None]
    network = workload.build(model.device).eval()

    def from_files(workers: int) -> Callable[[], None]:
        def run() -> None:
            with rows_to_file(folder / "votes.csv", 5, model.sources) as rows:
                for prediction in model.stream(find_images(paths), batch=workload.batch, workers=workers):
                    rows.add(prediction)

        return run

    pixels = [image.permute(1, 2, 0).numpy() for part in parts if part.images is not None for image in part.images]
    most = max(WORKERS)
    chunks = [paths[start : start + CHUNK] for start in range(0, len(paths), CHUNK)]
    calls: dict[str, Callable[[], object]] = {
        "memory": lambda: bare_pass(network, tensors),
        "reading": lambda: list(in_threads(lambda chunk: read_batch(chunk, model.preprocessing), chunks, most)),
        "computing": lambda: list(model.outputs(pixels, workload.batch, most)),
    }
    calls |= {_named(workers): from_files(workers) for workers in WORKERS}
    seconds = interleave(calls, budget, model.device)
    speeds = {name: [len(paths) / taken for taken in times] for name, times in seconds.items()}
    bounds = {f"those of the bare network on tensors in memory ({workload})": speeds["memory"]}
    for workers in WORKERS:
        yield from _against(f"predicting files ({images.name}), {_named(workers)}", speeds[_named(workers)], bounds)
    slower = [min(both) for both in zip(speeds["reading"], speeds["memory"], strict=True)]
    bounds = {f"the slower of reading alone and the bare network alone ({workload})": slower}
    if model.device.type == "cpu":
        pairs = zip(speeds["reading"], speeds["computing"], strict=True)
        in_turn = [1 / (1 / reading + 1 / computing) for reading, computing in pairs]
        bounds[f"reading alone and all ensembles alone, one after the other ({workload})"] = in_turn
    else:
        bounds[f"the slower of reading alone and all ensembles alone ({workload})"] = [
            min(both) for both in zip(speeds["reading"], speeds["computing"], strict=True)
        ]
    yield from _against(f"predicting files ({images.name}), {_named(most)}", speeds[_named(most)], bounds)


def _against(what: str, speeds: list[float], bounds: dict[str, list[float]]) -> Iterator[Measurement]:
    for name, others in bounds.items():
        yield Measurement(
            f"images per second of {what}",
            name,
            [speed / other for speed, other in zip(speeds, others, strict=True)],
            f"{np.median(speeds):.4g} against {np.median(others):.4g} images/s",
        )


def bare_pass(network: nn.Module, tensors: list[Tensor]) -> None:
    """Run the network once on every batch, and wait for the outputs as writing them would."""
    with torch.inference_mode():
        for images in tensors:
            network(images).cpu()


def _memory(folder: Path, few: int) -> Measurement:
    """Compare the peak resident memory of two runs of the command, with a small network, so that the images matter."""
    preprocessing = Preprocessing(32, 32, square=True)
    saved(FAST_WORKLOADS[0], preprocessing, folder / "small", torch.device("cpu"))
    original = paths_of(generated(folder / "one", 1))[0]
    for count in (few, MANY * few):
        (folder / str(count)).mkdir()
        for number in range(count):
            os.link(original, folder / str(count) / f"{number}.jpg")
    peaks: dict[int, list[float]] = {few: [], MANY * few: []}
    for _ in range(ROUNDS):
        for count, measured in peaks.items():
            measured.append(_peak(folder / "small", folder / str(count), folder / "votes.csv"))
    return Measurement(
        f"peak memory of predicting {MANY * few} images",
        f"that of predicting {few} (small, 32 px)",
        [many / other for many, other in zip(peaks[MANY * few], peaks[few], strict=True)],
        f"{np.median(peaks[MANY * few]):.4g} against {np.median(peaks[few]):.4g} MB",
    )


def _peak(model: Path, images: Path, out: Path) -> float:
    """Return the peak resident memory of one run of the command, in MB."""
    words = ["predict", str(model), str(images), "--out", str(out), "--device", "cpu", "--workers", "0", "--quiet"]
    done = subprocess.run([sys.executable, "-c", CHILD, *words], capture_output=True, text=True, check=True)
    return int(done.stdout) / (1e6 if sys.platform == "darwin" else 1e3)


def _named(workers: int) -> str:
    return f"{workers} worker{'' if workers == 1 else 's'}"
