"""RSC: Representation Self-Challenging (Huang et al., ECCV 2020, Section 3.2)."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil

import torch
from torch import Tensor, nn

from domain_masks.batch import DomainBatch
from domain_masks.errors import InputError, unknown
from domain_masks.methods.base import Context, Engine, labels_of, random_of
from domain_masks.methods.descriptions.augmentation import DescribedRSC, RSCSettings
from domain_masks.methods.one_network import OneNetwork
from domain_masks.networks.stages import channel_axis_of, places_of, stages
from domain_masks.networks.tracing import known_modules

Change = Callable[[Tensor], Tensor]

_LEAST_CHANGE = 1e-4
"""Of the own class's probability, for an image to be muted: as in the authors' code."""


def kept_features(scores: Tensor, share: float) -> Tensor:
    """Return 0 for the ``share`` of each row with the largest scores and 1 for the others (Equation 2), of their shape.

    Of K scores ⌈share · K⌉ are muted, as in the authors' code, fewer where several are equal to the largest that is not.
    """
    rows = scores.flatten(1)
    count = min(ceil(round(share * rows.shape[1], 6)), rows.shape[1] - 1)
    threshold = rows.sort(dim=1, descending=True).values[:, count : count + 1]
    return (rows <= threshold).to(scores.dtype).view(scores.shape)


def challenged(changes: Tensor, share: float) -> Tensor:
    """Return True for the ``share`` of the batch whose own class loses most, (N,) bool (the batch percentage).

    - ``changes``: probability of the own class before the muting less that after it, (N,); who gains by it is never muted
    """
    count = min(round(share * len(changes)), len(changes))
    chosen = torch.zeros_like(changes, dtype=torch.bool)
    chosen[changes.argsort(descending=True, stable=True)[:count]] = True
    return chosen & (changes > _LEAST_CHANGE)


class RSC(DescribedRSC, OneNetwork):
    """Learns the classes from features; in a part of the batch those most predictive of the own class are muted.

    What is muted is the output of the last stage, or the boundary's input where T begins behind it. Masks and changes are
    computed in evaluation mode, as in the authors' code.
    """

    def __init__(self, backbone: nn.Module, context: Context, settings: RSCSettings) -> None:
        super().__init__(backbone, context, settings)
        self.module = self._module_muted(backbone)
        self._epoch = 0

    def _module_muted(self, backbone: nn.Module) -> str | None:
        name = self.settings.module
        if name and name not in known_modules(backbone):
            raise unknown("module", name, known_modules(backbone))
        if name and not self._ends_in_task(backbone, name):
            raise InputError(
                f"method.module: {name!r} lies before the boundary {self.network.boundary!r}: expected a module of the task "
                "network, or an earlier --boundary"
            )
        last = name or stages(backbone, self.context.image_size)[-1]
        return last if self._ends_in_task(backbone, last) else None

    def _ends_in_task(self, backbone: nn.Module, name: str) -> bool:
        """Whether the module's output belongs to T: of one that holds the boundary it does."""
        within = (inner for inner, _ in backbone.named_modules() if f"{inner}.".startswith(f"{name}."))
        return not all(self.network.in_features(inner) for inner in within)

    def step(self, batch: DomainBatch, engine: Engine) -> dict[str, Tensor]:
        """Learn from one batch; the share of the batch that is muted can depend on the epoch."""
        self._epoch = engine.epoch
        return super().step(batch, engine)

    def training_loss(self, batch: DomainBatch) -> dict[str, Tensor]:
        """Return the cross entropy of what is left of the features, the mean over the batch (Equation 5)."""
        labels, features = labels_of(batch), self.boundary_features(batch)
        keep = self.mask(features.detach(), labels, batch)
        logits = self._task(features, lambda values: values * keep.to(values.dtype))
        return {"classification": self.classification_loss(logits, labels)}

    def mask(self, features: Tensor, labels: Tensor, batch: DomainBatch) -> Tensor:
        """Return 0 for what is muted and 1 for the rest, in a shape that the muted tensor can be multiplied with."""
        was_training = self.network.training
        self.network.eval()
        try:
            representation, gradient, before = self._gradient(features, labels)
            keep = kept_features(self._scores(representation, gradient, batch), self.settings.features)
            with torch.no_grad():
                after = self._own_probability(features, labels, lambda values: values * keep.to(values.dtype))
        finally:
            self.network.train(was_training)
        share = min(1.0, self.settings.batch + self.settings.batch_rise * (self._epoch // 10))
        random = random_of(batch)
        chosen = challenged(batch.gather(before - after), share)[random.first : random.first + random.count]
        return keep.masked_fill(~chosen.view(-1, *[1] * (keep.dim() - 1)), 1.0)

    def _gradient(self, features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the representation, the gradient of the own class's logit (Equation 1) and the own class's probability."""
        seen: list[Tensor] = []

        def capture(values: Tensor) -> Tensor:
            seen.append(values.detach().requires_grad_())
            return seen[-1]

        with torch.enable_grad():
            logits = self._task(features, capture)
            (gradient,) = torch.autograd.grad(logits.gather(1, labels[:, None]).sum(), seen[-1])
        return seen[-1].detach(), gradient, logits.detach().float().softmax(1).gather(1, labels[:, None])[:, 0]

    def _own_probability(self, features: Tensor, labels: Tensor, change: Change) -> Tensor:
        return self._task(features, change).float().softmax(1).gather(1, labels[:, None])[:, 0]

    def _scores(self, representation: Tensor, gradient: Tensor, batch: DomainBatch) -> Tensor:
        """Return what is ranked: (N, C, 1, 1), (N, 1, H, W) or all elements."""
        how, shape = self.settings.muting, tuple(gradient.shape)
        if how == "places-or-channels":
            how = "places" if random_of(batch).once("rsc/muting", 1).item() < 0.5 else "channels"
        if how == "elements" or len(shape) == 2:
            return gradient
        of_channels = gradient.mean(places_of(shape), keepdim=True)
        if how == "channels":
            return of_channels
        if self.settings.places_by == "activation":
            gradient = representation * of_channels
        return gradient.mean(channel_axis_of(shape), keepdim=True)

    def _task(self, features: Tensor, change: Change) -> Tensor:
        """Run T with what is muted changed."""
        if self.module is None:
            return self.network.task(change(features))
        with self.network.on_output(self.module, change):
            return self.network.task(features)
