"""MIRO: Mutual Information Regularization with Oracle (Cha et al., ECCV 2022, Section 3)."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from domain_masks.batch import DomainBatch
from domain_masks.errors import unknown
from domain_masks.methods.base import Context, Optimizer, labels_of
from domain_masks.methods.descriptions.regularisation import DescribedMIRO, MIROSettings
from domain_masks.methods.one_network import OneNetwork
from domain_masks.networks import Network
from domain_masks.networks.stages import channel_axis_of, output_shapes, stages

_EPSILON = 1e-5
_FIRST_VARIANCE = 0.1
_RATE = 10.0
"""Factor of the variances' learning rate relative to the network's, as in the authors' code."""


class Variance(nn.Module):
    """The variance of a Gaussian around the oracle's features, one per channel: softplus(10 b) + ε, initially 0.1.

    - ``shape``: (1, ...), shape of one image's features
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        axis = channel_axis_of(shape)
        form = [size if place == axis else 1 for place, size in enumerate(shape)]
        first = math.log(math.expm1(_FIRST_VARIANCE - _EPSILON))
        # With Adam a parameter scaled by 10 is trained with ten times the learning rate, under any schedule.
        self.bias = nn.Parameter(torch.full(form, first / _RATE))

    def forward(self) -> Tensor:
        """Return the variances, above 0; (1, ...), where only the channel axis is larger than 1."""
        return functional.softplus(_RATE * self.bias) + _EPSILON


def distance_to_oracle(features: Tensor, oracle: Tensor, variance: Tensor) -> Tensor:
    """Return (log σ² + (z - z₀)² / σ²) / 2, averaged over all elements: Equation 3 with the identity as mean encoder.

    - ``features``, ``oracle``: z of the network and z₀ of the pretrained one, (N, ...)
    - ``variance``: σ², above 0, broadcast over batch and positions
    - returns: scalar
    """
    return ((features - oracle).pow(2) / variance + variance.log()).mean() / 2


class MIRO(DescribedMIRO, OneNetwork):
    """Trains as Aggregate does, with a penalty on the distance of every stage's features from the pretrained network's.

    The oracle is the network before training; with ``--weights none`` it is random, and the penalty only keeps the network near
    its initial weights. As in the authors' code batch norm keeps the statistics of the initial weights, so that both networks
    are initially equal; ``batch_norm=learned`` uses the batches' statistics, in the network alone.
    """

    def __init__(self, backbone: nn.Module, context: Context, settings: MIROSettings) -> None:
        super().__init__(backbone, context, settings)
        shapes = output_shapes(backbone, context.image_size)
        for name in settings.modules or ():
            if name not in shapes:
                raise unknown("module", name, list(shapes))
        self._stages = settings.modules or stages(backbone, context.image_size, shapes)
        self.oracle = Network(copy.deepcopy(backbone), self.network.boundary, image_size=context.image_size)
        self.oracle.freeze()
        self.variances = nn.ModuleList(Variance(shapes[name]) for name in self._stages)
        if settings.batch_norm == "fixed":
            self.network.keep_statistics()

    def begin_phase(self, name: str) -> None:
        """Copy the network's current weights, which may come from another run, to the oracle."""
        self.oracle.network.load_state_dict(self.network.network.state_dict())

    def training_only(self) -> tuple[str, ...]:
        """Return the prefixes of the oracle and of the variances."""
        return ("oracle.", "variances.")

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Return ``body``, ``head``, and the variances' parameters as ``variances``."""
        return {**super().parameter_groups(), "variances": list(self.variances.parameters())}

    def optimizers(self) -> dict[str, tuple[str, ...] | Optimizer]:
        """Return the run's optimiser, and Adam for the variances."""
        return {"main": ("body", "head"), "variances": Optimizer(("variances",), kind="adam", weight_decay=0.0)}

    def training_loss(self, batch: DomainBatch) -> dict[str, Tensor]:
        """Return the cross entropy, and λ times the distances to the oracle, summed over stages (Equation 4)."""
        labels = labels_of(batch)
        if batch.images is None:
            raise ValueError("expected a batch with images to train on, got none")
        with self._watched(self.network) as seen:
            logits = self.logits(batch)
        terms = {"classification": self.classification_loss(logits, labels)}
        if self.settings.weight:
            with torch.no_grad(), self._watched(self.oracle) as before:
                self.oracle(batch.images)
            distances = [
                distance_to_oracle(seen[name].float(), before[name].float(), variance())
                for name, variance in zip(self._stages, self.variances, strict=True)
            ]
            terms["oracle"] = self.settings.weight * torch.stack(distances).sum()
        return terms

    @contextmanager
    def _watched(self, network: Network) -> Iterator[dict[str, Tensor]]:
        """Record the outputs of the stages of ``network`` within the block."""
        seen: dict[str, Tensor] = {}

        def note(name: str, output: Tensor) -> Tensor:
            seen[name] = output
            # The next module may change its input in place.
            return output.clone()

        with ExitStack() as watching:
            for name in self._stages:
                watching.enter_context(network.on_output(name, partial(note, name)))
            yield seen
