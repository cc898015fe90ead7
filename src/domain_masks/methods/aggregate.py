"""Aggregate: one network on the pooled data of all sources (the paper's first baseline, Section 4.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from domain_masks.batch import DomainBatch
from domain_masks.methods.base import Context, Engine, Optimizer, Phase, Settings, labels_of
from domain_masks.methods.descriptions.baselines import AggregateSettings, DescribedAggregate
from domain_masks.methods.one_network import OneNetwork

_HEAD = "head"
"""Name of the phase that trains the last layer alone, and of the layer's optimiser and parameter group."""


class Aggregate(DescribedAggregate, OneNetwork):
    """Empirical risk minimisation on the pooled sources; the network keeps its dropout.

    With ``head_first``, as in ERM++, a first phase, from which no epoch is selected, trains the last layer alone; then the
    whole network is trained with new optimisers.
    """

    def __init__(self, backbone: nn.Module, context: Context, settings: Settings) -> None:
        super().__init__(backbone, context, settings)
        # A subclass may have settings without these fields.
        self._own = settings if isinstance(settings, AggregateSettings) else AggregateSettings()
        if self._own.batch_norm == "fixed":
            self.network.keep_statistics()

    def phases(self) -> Sequence[Phase]:
        """Return one phase, or two: the last layer alone, then everything."""
        share = self._own.head_first
        if not share:
            return super().phases()
        return (Phase(_HEAD, share, selects=False), Phase("network", 1 - share, fresh_optimizers=True))

    def optimizers(self) -> Mapping[str, tuple[str, ...] | Optimizer]:
        """Return one optimiser, or with ``head_first`` one for the last layer and one for the other parameters."""
        if not self._own.head_first:
            return super().optimizers()
        body = tuple(name for name in self.parameter_groups() if name != _HEAD)
        return {"body": body, _HEAD: (_HEAD,)}

    def step(self, batch: DomainBatch, engine: Engine) -> dict[str, Tensor]:
        """Train on one batch; in the first phase only the last layer is updated."""
        if engine.phase != _HEAD:
            return super().step(batch, engine)
        loss = self.training_loss(batch)["classification"]
        engine.backward(loss, batch, only=(_HEAD,))
        engine.update(_HEAD)
        return {"classification": loss.detach()}

    def training_loss(self, batch: DomainBatch) -> dict[str, Tensor]:
        """Return the cross entropy, averaged over the batch."""
        return {"classification": self.classification_loss(self.logits(batch), labels_of(batch))}
