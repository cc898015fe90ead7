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
"""Minimum decrease of the true class's probability for an image to be muted, as in the authors' code."""


def kept_features(scores: Tensor, share: float) -> Tensor:
    """Return 0 for the ``share`` of each row with the largest scores and 1 for the others (Equation 2).

    Of K scores ⌈share · K⌉ are muted, as in the authors' code; fewer if some of them equal the largest score that is kept.

    - ``scores``: (N, ...); ``share``: in (0, 1)
    - returns: 0 or 1, the shape of ``scores``
    """
    rows = scores.flatten(1)
    count = min(ceil(round(share * rows.shape[1], 6)), rows.shape[1] - 1)
    threshold = rows.sort(dim=1, descending=True).values[:, count : count + 1]
    return (rows <= threshold).to(scores.dtype).view(scores.shape)


def challenged(changes: Tensor, share: float) -> Tensor:
    """Return the ``share`` of the batch with the largest decrease of the true class's probability (the batch percentage).

    - ``changes``: (N,), the true class's probability before muting minus that after it; images without a decrease are not
      chosen
    - returns: (N,) bool
    """
    count = min(round(share * len(changes)), len(changes))
    order = changes.argsort(descending=True, stable=True)
    ranks = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=order.device))
    return (ranks < count) & (changes > _LEAST_CHANGE)


class RSC(DescribedRSC, OneNetwork):
    """Trains as Aggregate does; in part of the batch the features that are most predictive of the true class are muted.

    The output of the last stage is muted, or the boundary's input if T begins after that stage. Scores and probabilities are
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
                f"method.module: {name!r} is before the boundary {self.network.boundary!r}: expected a module of the task "
                "network, or an earlier --boundary"
            )
        last = name or stages(backbone, self.context.image_size)[-1]
        return last if self._ends_in_task(backbone, last) else None

    def _ends_in_task(self, backbone: nn.Module, name: str) -> bool:
        """Return whether the module's output is computed in T, as for a module that contains the boundary."""
        within = (inner for inner, _ in backbone.named_modules() if f"{inner}.".startswith(f"{name}."))
        return not all(self.network.in_features(inner) for inner in within)

    def step(self, batch: DomainBatch, engine: Engine) -> dict[str, Tensor]:
        """Train on one batch; the fraction of muted images can depend on the epoch."""
        self._epoch = engine.epoch
        return super().step(batch, engine)

    def training_loss(self, batch: DomainBatch) -> dict[str, Tensor]:
        """Return the cross entropy with muted features, averaged over the batch (Equation 5)."""
        labels, features = labels_of(batch), self.boundary_features(batch)
        keep = self.mask(features.detach(), labels, batch)
        logits = self._task(features, lambda values: values * keep.to(values.dtype))
        return {"classification": self.classification_loss(logits, labels)}

    def mask(self, features: Tensor, labels: Tensor, batch: DomainBatch) -> Tensor:
        """Return 0 for muted units and 1 for the others, in a shape that broadcasts with the muted tensor."""
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
        """Return the representation, the gradient of the true class's logit (Equation 1) and the true class's probability."""
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
        """Return the scores of channels (N, C, 1, 1), of positions (N, 1, H, W) or of all elements (N, C, H, W)."""
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
        """Run T with ``change`` applied to the muted module's output."""
        if self.module is None:
            return self.network.task(change(features))
        with self.network.on_output(self.module, change):
            return self.network.task(features)
