"""Episodic training: each step evaluates held-out sources after a step on the others, on a copy of the weights."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from domain_masks.batch import DomainBatch
from domain_masks.devices import moved
from domain_masks.errors import DivergedError, InputError
from domain_masks.methods.base import PREDICTIONS, Context, Engine, Method, labels_of, random_of
from domain_masks.networks import Network
from domain_masks.networks.second_derivatives import FastSecondDerivatives
from domain_masks.processes import process_count, sum_over_processes
from domain_masks.randomness import selected

DIVERGED = 100.0
"""Maximum loss after an inner step, as a multiple of the loss of a uniform prediction; above it training has diverged."""


@dataclass(frozen=True)
class Part:
    """The rows of a batch that belong to some of the sources; gathered values are in the order of the global batch.

    They are found on the host: boolean masks on a GPU would synchronise with it.
    """

    batch: DomainBatch
    domains: tuple[int, ...]

    @cached_property
    def _everywhere(self) -> Tensor:
        """Places of the rows of all processes in the global batch, (K,) int64, on the CPU."""
        found: Tensor = torch.isin(self.batch.host_domains(), torch.tensor(self.domains)).nonzero()[:, 0]
        return found

    @cached_property
    def _here(self) -> Tensor:
        """Those of this process's rows, (k,)."""
        first = 0 if self.batch.random is None else self.batch.random.first
        return self._everywhere[(self._everywhere >= first) & (self._everywhere < first + len(self.batch))]

    @cached_property
    def rows(self) -> Tensor:
        """Places of the rows in this process's batch, (k,) int64."""
        first = 0 if self.batch.random is None else self.batch.random.first
        return moved(self._here - first, self.batch.device)

    @cached_property
    def _gathered(self) -> Tensor:
        return moved(self._everywhere, self.batch.device)

    @cached_property
    def host_domains(self) -> Tensor:
        """Sources of the rows of all processes, (K,), on the CPU."""
        return self.batch.host_domains()[self._everywhere]

    @cached_property
    def host_labels(self) -> Tensor:
        """Labels of the rows of all processes, (K,), on the CPU."""
        return self.batch.host_labels()[self._everywhere]

    @cached_property
    def labels(self) -> Tensor:
        """Labels of the rows of all processes, (K,)."""
        return self.batch.gather(labels_of(self.batch))[self._gathered]

    def of(self, domain: int) -> Tensor:
        """Return the places of a source's rows among those of all processes, int64."""
        return moved((self.host_domains == domain).nonzero()[:, 0], self.batch.device)

    def gather(self, values: Tensor) -> Tensor:
        """Return the values (K, ...) for the rows of all processes; ``values`` (k, ...) are those of this process."""
        if process_count() == 1:
            return values
        placed = values.new_zeros(len(self.batch), *values.shape[1:])
        return self.batch.gather(placed.index_put((self.rows,), values))[self._gathered]

    def place(self) -> tuple[int, int, int]:
        """Return the index of this process's first row among all, its number of rows, and the total number of rows."""
        before = int((self._everywhere < random_of(self.batch).first).sum())
        return before, len(self._here), len(self._everywhere)


@contextmanager
def passing(part: Part, twice: bool = True) -> Iterator[None]:
    """Run a network on a part of a batch: dropout draws as in one process.

    - ``twice``: whether the pass is differentiated twice
    """
    alone = process_count() == 1
    with ExitStack() as stack:
        if twice:
            # The other attention kernels have no second derivative.
            stack.enter_context(sdpa_kernel(SDPBackend.MATH))
            # Several processes have the statistics of batch norm together.
            stack.enter_context(FastSecondDerivatives(statistics=alone))
        if not alone:
            stack.enter_context(selected(*part.place()))
        yield


class InParts(Method):
    """One network that runs on the parts of a batch one by one, with its own weights or others.

    Batch norm therefore uses the statistics of each part, as in the papers' code; only passes with the network's own weights
    update the running statistics. With a batch of features only T is stepped.
    """

    network_kind: ClassVar[type[Network]] = Network

    def __init__(self, backbone: nn.Module, context: Context, settings: Any) -> None:
        super().__init__(context, settings)
        self.network = self.network_kind(backbone, context.boundary_of(backbone), image_size=context.image_size)
        self._handed_over: list[tuple[Tensor, float]] = []

    def predict(self, batch: DomainBatch) -> dict[str, Tensor]:
        """Return the network's logits."""
        return {PREDICTIONS: self.network.task(self.boundary_features(batch))}

    @property
    def twice(self) -> bool:
        """Whether steps are differentiated through: not with the setting ``order: first``."""
        return getattr(self.settings, "order", "second") == "second"

    def weights(self) -> dict[str, Tensor]:
        """Return the network's trainable weights by their names in it."""
        return {name: value for name, value in self.network.named_parameters() if value.requires_grad}

    def order(self, batch: DomainBatch) -> list[int]:
        """Return the sources in a random order for the step, equal on all processes."""
        drawn: list[int] = random_of(batch).once("episode", len(self.context.sources)).argsort().tolist()
        return drawn

    def logits(
        self, part: Part, weights: Mapping[str, Tensor], own: bool = False, features: Tensor | None = None
    ) -> Tensor:
        """Return the logits (K, C) for the rows of all processes with ``weights`` in place of the network's.

        - ``own``: whether these are the network's own weights, so that batch norm updates its running statistics
        - ``features``: those of the whole batch, (n, ...), if already computed
        """
        features = part.batch.features if features is None else features
        inputs = self.images_of(part.batch) if features is None else features
        with passing(part, self.twice):
            logits = self.network.call(
                "network" if features is None else "task", weights, inputs[part.rows], update_statistics=own
            )
        return part.gather(logits)

    def images_of(self, batch: DomainBatch) -> Tensor:
        """Return the images (n, 3, H, W) of a batch without features; raises ValueError if it has none."""
        if batch.images is None:
            raise ValueError("expected a batch with images or features, got neither")
        return batch.images

    def risk(self, part: Part, logits: Tensor) -> Tensor:
        """Return the mean cross entropy of each source of a part, averaged over these sources; a scalar."""
        losses = self.classification_loss(logits, part.labels, reduction="none")
        return torch.stack([losses[part.of(domain)].mean() for domain in part.domains]).mean()

    def refuse_synchronised(self) -> None:
        """Raise InputError if synchronised batch norm would be differentiated twice, which PyTorch does not support."""
        if process_count() > 1 and any(isinstance(module, nn.SyncBatchNorm) for module in self.network.modules()):
            raise InputError(
                f"devices: method {self.name!r} differentiates through inner steps, which PyTorch's synchronised batch norm "
                "does not support: use one device, or --method.order first if the method has this setting"
            )

    def refuse_diverged(self, loss: Tensor, rate: float) -> None:
        """Raise DivergedError if ``loss`` after steps at ``rate`` is not finite, or far above that of a uniform prediction.

        On an accelerator :meth:`hand_over` gives it to the engine, which raises some steps later, and the host does not wait.
        """
        if loss.device.type != "cpu":
            self._handed_over.append((loss.detach(), rate))
        elif not (value := float(loss.detach())) <= self.largest_loss:
            raise DivergedError(f"{_diverged(rate, value)} The weights were not updated in this step. {_LOWER}")

    @property
    def largest_loss(self) -> float:
        """What a loss after inner steps may be at most."""
        return DIVERGED * math.log(max(2, len(self.context.classes)))

    def hand_over(self, batch: DomainBatch, engine: Engine) -> None:
        """Give the losses of the step that were not read yet to the engine."""
        for loss, rate in self._handed_over:
            engine.require(loss, self.largest_loss, batch, partial(_advice, rate))
        self._handed_over.clear()


_LOWER = "Use a lower --method.inner_lr."


def _diverged(rate: float, value: float) -> str:
    return (
        f"method.inner_lr: after a step at the inner rate {rate:g} the loss is {value:.4g}: the rate is too large for "
        "this network and these images."
    )


def _advice(rate: float, value: float) -> str:
    return f"{_diverged(rate, value)} {_LOWER}"


class Episodic(InParts):
    """One network with episodic training: each step holds out ``meta_test_domains`` randomly drawn sources."""

    def __init__(self, backbone: nn.Module, context: Context, settings: Any) -> None:
        super().__init__(backbone, context, settings)
        if settings.meta_test_domains >= len(context.sources):
            raise InputError(
                f"method.meta_test_domains: expected fewer than the {len(context.sources)} sources "
                f"({', '.join(context.sources)}), so that some remain for the inner step, got {settings.meta_test_domains}"
            )

    @abstractmethod
    def losses(self, train: Part, test: Part) -> dict[str, Tensor]:
        """Return the named terms of an episode's loss, which are summed."""

    def step(self, batch: DomainBatch, engine: Engine) -> dict[str, Tensor]:
        """Train on one episode."""
        if self.twice:
            self.refuse_synchronised()
        order, held_out = self.order(batch), self.settings.meta_test_domains
        terms = self.losses(Part(batch, tuple(sorted(order[held_out:]))), Part(batch, tuple(sorted(order[:held_out]))))
        self.hand_over(batch, engine)
        engine.backward(torch.stack(list(terms.values())).sum(), batch)
        engine.update()
        return {name: term.detach() for name, term in terms.items()}


def stepped(
    weights: Mapping[str, Tensor],
    loss: Tensor,
    rate: float,
    second_order: bool,
    kind: Literal["sgd", "adam"] = "sgd",
    clip: float | None = None,
) -> dict[str, Tensor]:
    """Return ``weights`` after a gradient step on ``loss``, a loss over the rows of all processes.

    - ``second_order``: differentiate through the gradient of this step; otherwise it is treated as a constant
    - ``kind``: ``adam`` is the first step of Adam, without momentum: about the rate times the gradient's sign
    - ``clip``: maximum norm of each tensor's gradient; None: no limit
    """
    computed = torch.autograd.grad(
        loss, list(weights.values()), create_graph=second_order, retain_graph=True, allow_unused=True
    )
    gradients = [
        torch.zeros_like(value) if gradient is None else gradient
        for value, gradient in zip(weights.values(), computed, strict=True)
    ]
    if (processes := process_count()) > 1:
        # Each process has the gradient of its own rows.
        flat = sum_over_processes(torch.cat([gradient.reshape(-1) for gradient in gradients])) / processes
        parts = torch.split(flat, [gradient.numel() for gradient in gradients])
        gradients = [part.view_as(gradient) for part, gradient in zip(parts, gradients, strict=True)]
    if clip is not None:
        gradients = [gradient * (clip / gradient.norm().clamp(min=1e-12)).clamp(max=1.0) for gradient in gradients]
    if kind == "adam":
        gradients = [gradient / (gradient.abs() + 1e-8) for gradient in gradients]
    return {name: value - rate * gradient for (name, value), gradient in zip(weights.items(), gradients, strict=True)}
