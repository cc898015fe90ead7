"""Channels that differ between two masks, and the images that excite them most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from domain_masks.masks.functional import hard_masks, mask_probabilities
from domain_masks.networks import MaskedNetwork
from domain_masks.networks.site import apply_mask, channel_means
from domain_masks.records import Predictions
from domain_masks.records.explanations import ChannelDifferences, DifferingChannel, ExcitingImage, MaskPair

EXCITING = 6
"""Images shown of a channel."""


def differing_channels(logits: Mapping[str, Tensor], sources: Sequence[str], most: int) -> ChannelDifferences:
    """Return, for each pair of sources, the ``most`` channels of all sites that are on in one hard mask and off in the other.

    Ranked by the difference of their probabilities, the largest first.

    - ``logits``: site -> (D, K), rows in the order of ``sources``
    """
    pairs = []
    for (first, one), (second, other) in combinations(enumerate(sources), 2):
        differing: dict[str, int] = {}
        found: list[DifferingChannel] = []
        for site, values in logits.items():
            mine, theirs = hard_masks(values.detach()[[first, second]]).cpu()
            probabilities = mask_probabilities(values.detach().double().cpu())[[first, second]]
            channels = (mine != theirs).nonzero().flatten()
            differing[site] = len(channels)
            difference = (probabilities[0] - probabilities[1]).abs()[channels]
            for channel in channels[difference.argsort(descending=True, stable=True)[:most]].tolist():
                found.append(_channel(site, channel, {one: probabilities[0], other: probabilities[1]}))
        found.sort(key=lambda channel: channel.off_probability - channel.on_probability)
        pairs.append(MaskPair(first=one, second=other, differing=differing, channels=found[:most]))
    return ChannelDifferences(pairs=pairs)


def _channel(site: str, channel: int, probabilities: Mapping[str, Tensor]) -> DifferingChannel:
    off, on = sorted(probabilities, key=lambda source: float(probabilities[source][channel]))
    return DifferingChannel(
        site=site,
        channel=channel,
        on=on,
        off=off,
        on_probability=float(probabilities[on][channel]),
        off_probability=float(probabilities[off][channel]),
    )


@dataclass
class _Watched:
    """The masks of all domains at a site, (D·N, K), which keeps the mean activation of every channel before them."""

    mask: Tensor
    means: list[Tensor] = field(default_factory=list)

    def at(self, inputs: Tensor, axis: int) -> Any:
        """Return the masked activations."""
        self.means.append(channel_means(inputs, axis))
        return apply_mask(inputs, self.mask, axis)


def activations(network: MaskedNetwork, features: Tensor) -> dict[str, Tensor]:
    """Return site -> (D, N, K), the mean over positions of each channel's activation before its mask.

    At a site behind others the activations depend on their masks: there is one set for every source's soft masks.

    - ``features``: (N, ...), the boundary's input
    """
    soft = network.masks.probabilities()
    watched: dict[str, _Watched] = {}

    def openings(of_rows: Any) -> list[_Watched]:
        watched.update({site.name: _Watched(of_rows(soft[site.name])) for site in network.sites})
        return [watched[site.name] for site in network.sites]

    domains = network.masks.domains
    network.under_each(features, domains, openings)
    found = {}
    for name, site in watched.items():
        (means,) = site.means
        # Up to the first site there is one row per image, whatever the mask.
        found[name] = (
            means.reshape(domains, -1, means.shape[1])
            if len(means) == domains * len(features)
            else means.expand(domains, *means.shape)
        )
    return found


class Excitations:
    """Collects, batch by batch, the activations of the channels of some :class:`ChannelDifferences`."""

    def __init__(self, differences: ChannelDifferences, sources: Sequence[str]) -> None:
        self._sources = list(sources)
        self._wanted = sorted(
            {(channel.site, channel.channel, channel.on) for pair in differences.pairs for channel in pair.channels}
        )
        self._values: list[Tensor] = []
        self._differences = differences

    def add(self, network: MaskedNetwork, features: Tensor) -> None:
        """Add the images of a batch; ``features``: (N, ...), the boundary's input."""
        if self._wanted:
            found = activations(network, features)
            rows = [found[site][self._sources.index(on), :, channel] for site, channel, on in self._wanted]
            self._values.append(torch.stack(rows).float().cpu())

    def with_images(self, images: Predictions, most: int = EXCITING) -> ChannelDifferences:
        """Return the differences with the images of the sources that excite each channel most.

        - ``images``: N samples, in the order of the batches
        """
        candidates = [
            row for row, domain in enumerate(images.domains.tolist()) if images.domain_names[domain] in self._sources
        ]
        names = [images.domain_names[images.domains[row]] for row in candidates]
        counts = {source: names.count(source) for source in self._sources if source in names}
        if not self._wanted or not candidates:
            return self._differences.model_copy(update={"images": counts})
        values = torch.cat(self._values, dim=1)[:, candidates]
        exciting: dict[tuple[str, int, str], list[ExcitingImage]] = {}
        for key, row in zip(self._wanted, values, strict=True):
            order = row.argsort(descending=True, stable=True)[:most].tolist()
            exciting[key] = [
                ExcitingImage(
                    id=str(images.ids[candidates[place]]),
                    domain=names[place],
                    label=images.classes[images.labels[candidates[place]]],
                    activation=float(f"{float(row[place]):.4g}"),
                )
                for place in order
            ]
        pairs = [
            pair.model_copy(
                update={
                    "channels": [
                        one.model_copy(update={"images": exciting[one.site, one.channel, one.on]})
                        for one in pair.channels
                    ]
                }
            )
            for pair in self._differences.pairs
        ]
        return ChannelDifferences(pairs=pairs, images=counts)
