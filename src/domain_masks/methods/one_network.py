"""Base of methods that train a single ordinary network, and predict with it as Aggregate does."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from domain_masks.batch import DomainBatch
from domain_masks.devices import moved
from domain_masks.errors import InputError
from domain_masks.methods.base import PREDICTIONS, Context, Method
from domain_masks.networks import Network, RepresentedNetwork
from domain_masks.networks.tracing import training_mode


class OneNetwork(Method):
    """One network T ∘ F for all sources; a subclass defines how it is trained."""

    def __init__(self, backbone: nn.Module, context: Context, settings: Any) -> None:
        super().__init__(context, settings)
        self.network = self.divided(backbone, context.boundary_of(backbone), context.image_size)

    def divided(self, backbone: nn.Module, boundary: str, image_size: int) -> Network:
        """Return the backbone, split into F and T."""
        return Network(backbone, boundary, image_size=image_size)

    def logits(self, batch: DomainBatch) -> Tensor:
        """Return the network's logits, (N, C)."""
        return self.network.task(self.boundary_features(batch))

    def predict(self, batch: DomainBatch) -> dict[str, Tensor]:
        """Return the network's logits."""
        return {PREDICTIONS: self.logits(batch)}


class OneRepresentedNetwork(OneNetwork):
    """One network for all sources; the method uses the inputs of its last layer."""

    network: RepresentedNetwork

    def divided(self, backbone: nn.Module, boundary: str, image_size: int) -> RepresentedNetwork:
        """Return the backbone, split into F, T, and T's last layer."""
        return RepresentedNetwork(backbone, boundary, image_size=image_size)

    def represented(self, batch: DomainBatch) -> tuple[Tensor, Tensor]:
        """Return the last layer's inputs, (N, K), and the logits, (N, C), both in single precision."""
        representation = self.network.represent(self.boundary_features(batch))
        return self.network.channels(representation).float(), self.network.classify(representation).float()

    def linear_head(self) -> nn.Linear:
        """Return the last layer; raises InputError unless it is linear and returns the logits."""
        head = self.network.network.get_submodule(self.network.head)
        image = torch.zeros(1, 3, self.context.image_size, self.context.image_size)
        with torch.no_grad(), training_mode(self.network, False):
            inputs = self.network.represent(self.network.frozen_features(image.to(next(head.parameters()).device)))
            if isinstance(head, nn.Linear) and torch.equal(head(inputs), self.network.classify(inputs)):
                return head
        raise InputError(
            f"method {self.name!r} needs a network that ends with a linear layer, got {type(head).__name__} "
            f"{self.network.head!r}: choose another backbone"
        )


def by_domain(batch: DomainBatch, sources: tuple[str, ...], fewest: int = 1) -> Tensor:
    """Return the rows of each source in the global batch, (D, N) bool on the CPU; equal on all processes.

    Raises InputError if a source has fewer rows than ``fewest``.
    """
    domains = batch.host_domains()
    counts = torch.bincount(domains, minlength=len(sources)).tolist()
    if min(counts) < fewest:
        got = ", ".join(f"{count} of {source!r}" for source, count in zip(sources, counts, strict=True))
        raise InputError(
            f"expected at least {fewest} of the images in each batch to be of each source domain, got {got}: "
            "use a larger --batch, and --sampling balanced"
        )
    rows: Tensor = domains == torch.arange(len(sources))[:, None]
    return rows


def mean_weights(rows: Tensor, like: Tensor) -> Tensor:
    """Return factors (D, N) with rows that sum to 1, so that ``weights @ values`` is the mean of each source.

    - ``rows``: (D, N), booleans; ``like``: a tensor of the factors' dtype and device
    """
    weights = moved(rows, like.device).to(like.dtype)
    normalised: Tensor = weights / weights.sum(1, keepdim=True)
    return normalised
