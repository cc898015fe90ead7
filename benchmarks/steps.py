"""One training step: of a bare network, and of a method as in `dmg train`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from types import ModuleType
from typing import Any
from unittest import mock

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn import functional

from domain_masks.batch import DomainBatch
from domain_masks.methods import Context, Method
from domain_masks.methods.method_builder import build_method
from domain_masks.methods.settings import method_settings
from domain_masks.networks import build_backbone
from domain_masks.randomness import BatchRandomness, generator, seeded
from domain_masks.records.config import RunConfig, parse_config
from domain_masks.training.engine import TrainingEngine
from domain_masks.training.launching import launch

CLASSES = 7
SOURCES = ("art_painting", "cartoon", "photo")
SEED = 0


@dataclass(frozen=True)
class Scale:
    """The preprocessing that the random images stand for."""

    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Workload:
    """A network, the side of its images in pixels, and the images of a step."""

    backbone: str
    pixels: int
    batch: int

    def __str__(self) -> str:
        return f"{self.backbone}, {self.pixels} px, batch {self.batch}"

    def build(self, device: torch.device) -> nn.Module:
        """Return the bare network with random weights, the same at every call."""
        with seeded(SEED, "initialisation/backbone"):
            return build_backbone(self.backbone, CLASSES).to(device)

    def images(self, device: torch.device) -> Tensor:
        """Return images of random numbers, (batch, 3, pixels, pixels)."""
        return torch.randn(self.batch, 3, self.pixels, self.pixels, generator=generator(SEED, "images")).to(device)

    def domain_batch(self, device: torch.device) -> DomainBatch:
        """Return a training batch of all sources, with labels and random numbers of its own."""
        rows = torch.arange(self.batch)
        batch = DomainBatch(
            images=self.images(device),
            labels=rows % CLASSES,
            domains=rows % len(SOURCES),
            ids=rows,
            random=BatchRandomness(SEED, step=0, first=0, count=self.batch, total=self.batch),
        )
        return batch.to(device)

    def config(self, device: torch.device, **changes: Any) -> RunConfig:
        """Return the settings of a run: Adam at the paper's rate."""
        settings = {"backbone": self.backbone, "batch": self.batch, "lr": 1e-4, "weight_decay": 0.0}
        return parse_config({**settings, "device": device.type, **changes})


def bare_step(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> Callable[[], None]:
    """Return a step of plain PyTorch: forward, cross entropy, backward, Adam."""
    network.train()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4, fused=True)

    def step() -> None:
        with autocast():
            loss = functional.cross_entropy(network(images), labels)
        torch.autograd.backward(loss)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def build(workload: Workload, name: str, device: torch.device, sources: tuple[str, ...] = SOURCES) -> Method:
    """Return the method ``name`` with its default settings around a fresh network."""
    context = Context(
        sources,
        tuple(f"class {index}" for index in range(CLASSES)),
        image_size=workload.pixels,
        preprocessing=Scale(),
        further_backbone=lambda: workload.build(device),
    )
    return build_method(name, workload.build(device), context, method_settings(name, {}), SEED).to(device).train()


def without(module: ModuleType, name: str, call: Callable[[], None]) -> Callable[[], None]:
    """Return ``call`` as it would be if the context manager ``name`` of a module did nothing."""

    def run() -> None:
        with mock.patch.object(module, name, return_value=nullcontext()):
            call()

    return run


class MethodStep:
    """The steps of a method on the engine, with everything that `dmg train` does for a batch."""

    def __init__(
        self,
        workload: Workload,
        method: Method,
        device: torch.device,
        steps: int = 1,
        epochs: int = 1,
        config: RunConfig | None = None,
    ) -> None:
        config = config or workload.config(device)
        self.method = method
        self.fabric: Fabric = launch(config)
        self.engine = TrainingEngine(self.fabric, method, config, epochs=epochs, steps_per_epoch=steps)

    def __call__(self, batch: DomainBatch, index: int = 0, epoch: int = 0) -> None:
        """Train on a batch that is on the device, augmented and normalised, as step ``index`` of epoch ``epoch``."""
        if batch.random is None:
            raise ValueError("expected a training batch with random numbers of its own")
        self.engine.begin(epoch, index)
        with self.engine.autocast(), batch.random.seeded("layers", self.fabric.device):
            self.method.step(batch, self.engine)
