"""Class activation maps: where in an image the evidence for a class lies, under each mask and the ensemble."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from domain_masks.batch import DomainBatch
from domain_masks.errors import InputError
from domain_masks.methods.base import Method
from domain_masks.networks.map_layer import MapLayer, find_map_layer
from domain_masks.records.measured_metrics import FittedTemperature

_CHUNK = 8
"""Images per pass: their activations are kept for the gradient."""


@dataclass(frozen=True)
class ClassActivationMaps:
    """The class activation maps of N images under E ensembles.

    - ``maps``: ensemble -> (N, S, S), at least 0, of the size of the network's input; 0 where nothing speaks for the class
    - ``probabilities``: ensemble -> (N,), the probability of that class
    - ``layer``: where they were computed
    """

    maps: dict[str, Tensor]
    probabilities: dict[str, Tensor]
    layer: MapLayer


def class_activation_maps(
    method: Method,
    images: Tensor,
    classes: Tensor,
    ensembles: Sequence[str],
    layer: MapLayer | None = None,
    temperatures: Mapping[str, FittedTemperature] | None = None,
) -> ClassActivationMaps:
    """Return the Grad-CAM maps of the class ``classes[n]`` of image n under each ensemble (Selvaraju et al., 2017).

    The activations of the layer are weighted, channel by channel, with the mean gradient of the class's logit, added up, and
    clipped at 0. A mask changes the gradient, and behind its site the activations; where the layer is computed under several
    masks, the terms of all are added. For every method whose predictions have a gradient, in evaluation mode.

    - ``images``: (N, 3, S, S), normalised, on the method's device; ``classes``: (N,)
    - ``layer``: None for :func:`~domain_masks.networks.map_layer.find_map_layer`
    - ``temperatures``: of the ensembles of a calibrated model; they change probabilities, not maps

    Raises InputError if the network has no such layer, or the predictions have no gradient.
    """
    layer = layer or find_map_layer(method.network)
    maps: dict[str, list[Tensor]] = {name: [] for name in ensembles}
    probabilities: dict[str, list[Tensor]] = {name: [] for name in ensembles}
    for some, own in zip(torch.split(images, _CHUNK), torch.split(classes.to(images.device), _CHUNK), strict=True):
        for name in ensembles:
            found, logits = _maps(method, some, own, name, layer)
            maps[name].append(found)
            fitted = (temperatures or {}).get(name)
            scaled = logits.float() if fitted is None else logits.float() / fitted.value
            probabilities[name].append(scaled.softmax(1).gather(1, own[:, None])[:, 0].cpu())
    return ClassActivationMaps(
        {name: torch.cat(parts) for name, parts in maps.items()},
        {name: torch.cat(parts) for name, parts in probabilities.items()},
        layer,
    )


def _maps(method: Method, images: Tensor, classes: Tensor, ensemble: str, layer: MapLayer) -> tuple[Tensor, Tensor]:
    """Return the maps of one ensemble, (N, S, S) on the CPU, and its logits, (N, C)."""
    from captum.attr import LayerAttribution, LayerGradCam  # noqa: PLC0415 - takes a second

    count = len(images)
    seen: list[Tensor] = []
    # captum looks at the output of a module: this one, put behind the layer, has channels first whatever the network's order.
    probe = nn.Identity()

    def logits_of(inputs: Tensor) -> Tensor:
        logits = method.predict(DomainBatch(inputs, None, None, torch.arange(count, device=inputs.device)))[ensemble]
        if not logits.requires_grad:
            raise InputError(f"the predictions of method {method.name!r} have no gradient: no class activation maps")
        seen.append(logits.detach())
        return logits

    def through_probe(output: Tensor) -> Tensor:
        return layer.restored(probe(layer.channels_first(output)), output)

    with torch.enable_grad(), method.network.on_output(layer.name, through_probe):
        found = LayerGradCam(logits_of, probe).attribute(images.detach().clone().requires_grad_(), target=classes)
    # Behind a mask site there are rows for every mask, (P·N, ...): each adds its part.
    each = found.detach().reshape(-1, count, *found.shape[1:]).sum(0).relu()
    return LayerAttribution.interpolate(each, tuple(images.shape[-2:]), "bilinear")[:, 0].float().cpu(), seen[0]
