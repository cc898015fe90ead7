"""Trains by weights that lie where torchvision and timm keep what they have fetched, and asks the model without them.

``python rebuilding.py NAME[@SIZE] ...`` prints a line per network: by how much the rebuilt one's logits differ, as part of the
largest. torch.hub's and huggingface_hub's folders must be set to ones of the caller's (TORCH_HOME, HF_HOME, HF_HUB_OFFLINE=1).
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

import numpy as np
import timm
import torch
from huggingface_hub import constants
from PIL import Image
from safetensors.torch import save_file
from torchvision import models

sys.path.insert(0, str(Path(__file__).parents[1]))

import generated
from domain_masks.deploy import load
from domain_masks.deploy.exporting.export import export_model
from domain_masks.deploy.exporting.export_format import ExportFormat
from domain_masks.deploy.exporting.parity_images import generated_images
from domain_masks.networks import find_backbone
from domain_masks.records import Predictions, RunFolder
from domain_masks.training import evaluate, run

COMMIT = "0" * 40


class Silent:
    lines: list[str]

    def __init__(self) -> None:
        self.lines = []

    def say(self, line: str) -> None:
        self.lines.append(line)

    def track(self, items, total, what):
        yield from items


def random_state(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return weights of which none is as it is made: statistics and biases are neither 0 nor 1."""
    made = torch.Generator().manual_seed(1)
    state = network.state_dict()
    for name, value in state.items():
        if value.is_floating_point() and value.dim() == 1:
            noise = torch.rand(value.shape, generator=made)
            state[name] = 0.5 + noise if name.endswith(("var", "weight", "gamma")) else 0.2 * (noise - 0.5)
    return state


def place_weights(name: str) -> Path:
    """Put random weights where the library of the network ``name`` looks for those that it has fetched."""
    library, plain = find_backbone(name)
    torch.manual_seed(0)
    if library == "torchvision":
        available = models.get_model_weights(plain)
        entry = getattr(available, "IMAGENET1K_V1", None) or available.DEFAULT
        options = {"init_weights": True} if plain in ("googlenet", "inception_v3") else {}
        if plain.startswith("vit"):
            options["image_size"] = entry.meta["min_size"][0]
        state = random_state(models.get_model(plain, weights=None, **options))
        path = Path(torch.hub.get_dir()) / "checkpoints" / Path(entry.url).name
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(state, path)
        return path
    network = timm.create_model(plain, pretrained=False)
    folder = Path(constants.HF_HUB_CACHE) / f"models--{network.pretrained_cfg['hf_hub_id'].replace('/', '--')}"
    path = folder / "snapshots" / COMMIT / (network.pretrained_cfg.get("hf_hub_filename") or "model.safetensors")
    path.parent.mkdir(parents=True, exist_ok=True)
    (folder / "refs").mkdir(exist_ok=True)
    (folder / "refs" / "main").write_text(COMMIT)
    state = {key: value.clone().contiguous() for key, value in random_state(network).items()}
    save_file(state, path)
    return path


def difference(expected: dict[str, np.ndarray], got: dict[str, np.ndarray]) -> float:
    return max(float(np.abs(got[name] - values).max() / np.abs(values).max()) for name, values in expected.items())


def rebuilt(name: str, size: int | None, method: str, out: Path, export: bool = False) -> tuple[float, float]:
    """Train by ``imagenet``, take the weights away, predict and measure again; returns both differences.

    The first is of the model from its files, the second of `evaluate`, which builds from the checkpoint.
    """
    path = place_weights(name)
    data = generated.dataset(per_class=4)
    settings = {"backbone": name, "weights": "imagenet", "size": size, "batch": 6, "fast": True, "method": method}
    config = generated.config(**settings, head_initialisation="default", lr=1e-4)
    run(config, out, dataset=data, reporter=Silent())
    path.unlink()
    measured = Predictions.load(RunFolder(out).predictions)
    model = load(out, device="cpu")
    rows = [data.ids.index(str(sample)) for sample in measured.ids[:6]]
    images = [data.open_image(row) for row in rows]
    assert all(isinstance(image, Image.Image) for image in images)
    got = {ensemble: values.numpy() for ensemble, values in model.logits(images).items()}
    first = difference({ensemble: values[:6] for ensemble, values in measured.logits.items()}, got)
    if export:
        settings = ExportFormat(format="pt2", preprocessing=True)
        export_model(model.method, model.card, settings, out / "model.pt2", generated_images(model.preprocessing))
    evaluate(out, Silent(), dataset=data)
    again = Predictions.load(RunFolder(out).predictions)
    return first, difference(measured.logits, again.logits)


def main(names: list[str], method: str = "aggregate") -> None:
    for word in names:
        name, _, size = word.rpartition("@")
        began = time.monotonic()
        out = Path(tempfile.mkdtemp(prefix="rebuilt-"))
        try:
            first, second = rebuilt(name or word, int(size) if name else None, method, out / "run")
            print(f"{word} {first:.2g} {second:.2g} ({time.monotonic() - began:.0f} s)", flush=True)
        except Exception as error:
            print(f"{word} FAILED {type(error).__name__}: {str(error)[:300]}", flush=True)
            if os.environ.get("VERBOSE"):
                traceback.print_exc()
        shutil.rmtree(out, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1:], os.environ.get("METHOD", "aggregate"))
