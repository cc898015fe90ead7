"""A classifier that exposes the input of its last layer: the representation on which methods compare domains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from domain_masks.networks.inputs import check_features, example_of
from domain_masks.networks.network import Network
from domain_masks.networks.outputs import Changes
from domain_masks.networks.presets import find_head
from domain_masks.networks.site import channel_means
from domain_masks.networks.sites import resolve_sites
from domain_masks.networks.split import Segments, split_network


class RepresentedNetwork(Network):
    """A classifier M = T ∘ F whose T is split again, at the input of its last layer or of another module.

    T is ``classify`` after ``represent``. The representation is computed in T, including dropout directly before the last
    layer: with F frozen it can still be trained, unless the boundary is the last layer itself.

    - ``last``: name of the module whose input is the representation; None: the last layer

    See :class:`Network`; raises InputError if the last layer cannot be determined.
    """

    def __init__(self, network: nn.Module, boundary: str, image_size: int = 224, last: str | None = None) -> None:
        self._last = last
        super().__init__(network, boundary, image_size=image_size)

    def _split(self, changes: Changes | None = None) -> dict[bool, Segments]:
        if not hasattr(self, "_head_site"):
            example, signature = example_of(self.network, None, self.image_size)
            (self._head_site,), _ = resolve_sites(
                self.network, (self._last or find_head(self.network),), example, signature
            )
        # Not a mask site: nothing is masked there, and records do not contain it.
        sites, inputs = (self._head_site,), self._signature.count
        parts = split_network(self.network, self.boundary, sites, inputs, changes=changes)
        if changes is None:
            self._parts = parts
        else:
            self._changeable_parts = parts
        return super()._split(changes)

    def __getstate__(self) -> dict[str, Any]:
        rebuilt = ("_parts", "_changeable_parts")
        return {name: value for name, value in super().__getstate__().items() if name not in rebuilt}

    @property
    def _opened(self) -> Mapping[str, bool]:
        return {**self._parts[True].opened, **super()._opened}

    @property
    def head(self) -> str:
        """Qualified name of the last layer."""
        return find_head(self.network)

    @property
    def width(self) -> int:
        """K, the number of channels of the representation."""
        return self._head_site.size

    def represent(self, features: Tensor) -> Tensor:
        """Run T up to its last layer: features (N, ...) -> that layer's input, (N, K), or (N, K, H, W) for a convolution."""
        check_features(features)
        return self._divided.shared(self.network, features)

    def classify(self, representation: Tensor) -> Tensor:
        """Run T's last layer: (N, K) or (N, K, H, W) -> logits (N, C)."""
        return self._divided.masked(self.network, representation, None)

    def channels(self, representation: Tensor) -> Tensor:
        """Return the mean of every channel of a representation over positions: (N, ...) -> (N, K)."""
        return channel_means(representation, self._head_site.axis)

    @property
    def _divided(self) -> Segments:
        parts = self._changeable_parts if self._changes.functions else self._parts
        return parts[self.training and not self.is_frozen]
