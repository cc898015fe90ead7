"""Class activation maps: where in an image the evidence for a class lies, under each mask and the ensemble."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from captum.attr import LayerAttribution, LayerGradCam
from PIL import Image
from torch import Tensor, nn

from domain_masks.batch import DomainBatch
from domain_masks.data import Preprocessing
from domain_masks.errors import InputError
from domain_masks.methods.base import Method
from domain_masks.networks.map_layer import MapLayer, find_map_layer

SIDE = 160
"""Side of a stored map in pixels."""
QUALITY = 82
_MOST_OPAQUE = 0.75
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
    method: Method, images: Tensor, classes: Tensor, ensembles: Sequence[str], layer: MapLayer | None = None
) -> ClassActivationMaps:
    """Return the Grad-CAM maps of the class ``classes[n]`` of image n under each ensemble (Selvaraju et al., 2017).

    The activations of the layer are weighted, channel by channel, with the mean gradient of the class's logit, added up, and
    clipped at 0. A mask changes the gradient, and behind its site the activations; where the layer is computed under several
    masks, the terms of all are added. For every method whose predictions have a gradient, in evaluation mode.

    - ``images``: (N, 3, S, S), normalised, on the method's device; ``classes``: (N,)
    - ``layer``: None for :func:`~domain_masks.networks.map_layer.find_map_layer`

    Raises InputError if the network has no such layer, or the predictions have no gradient.
    """
    layer = layer or find_map_layer(method.network)
    maps: dict[str, list[Tensor]] = {name: [] for name in ensembles}
    probabilities: dict[str, list[Tensor]] = {name: [] for name in ensembles}
    for some, own in zip(torch.split(images, _CHUNK), torch.split(classes.to(images.device), _CHUNK), strict=True):
        for name in ensembles:
            found, logits = _maps(method, some, own, name, layer)
            maps[name].append(found)
            probabilities[name].append(logits.float().softmax(1).gather(1, own[:, None])[:, 0].cpu())
    return ClassActivationMaps(
        {name: torch.cat(parts) for name, parts in maps.items()},
        {name: torch.cat(parts) for name, parts in probabilities.items()},
        layer,
    )


def _maps(method: Method, images: Tensor, classes: Tensor, ensemble: str, layer: MapLayer) -> tuple[Tensor, Tensor]:
    """Return the maps of one ensemble, (N, S, S) on the CPU, and its logits, (N, C)."""
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


def pixels_of(preprocessing: Preprocessing, image: Image.Image) -> tuple[npt.NDArray[np.uint8], Tensor]:
    """Return an opened image as the network sees it: its pixels (S, S, 3), and normalised (1, 3, S, S)."""
    seen = preprocessing.load(image)
    return seen.numpy().transpose(1, 2, 0), preprocessing.normalize(seen[None])


def overlaid(pixels: npt.NDArray[np.uint8], heat: Tensor | None = None) -> Image.Image:
    """Return an image (S, S, 3) of ``SIDE`` pixels, with a map (S, S) over it, scaled by its own maximum.

    The image is grey under the map, which is the more opaque the larger its values.
    """
    small = Image.fromarray(np.ascontiguousarray(pixels))
    filter_of = Image.Resampling.NEAREST if max(small.size) <= SIDE // 2 else Image.Resampling.LANCZOS
    image = small.resize((SIDE, SIDE), filter_of)
    if heat is None:
        return image
    values = heat / heat.max().clamp_min(1e-12)
    scaled = Image.fromarray(values.numpy()).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    strength = np.asarray(scaled).clip(0, 1)[..., None]
    from matplotlib import colormaps  # noqa: PLC0415 - only where maps are drawn

    colours = colormaps["inferno"](strength[..., 0])[..., :3] * 255
    grey = np.asarray(image.convert("L"), dtype=np.float64)[..., None]
    mixed = grey + (colours - grey) * (_MOST_OPAQUE * strength)
    return Image.fromarray(mixed.round().clip(0, 255).astype(np.uint8))


def as_webp(image: Image.Image) -> bytes:
    """Return an image as a WebP file."""
    content = io.BytesIO()
    image.save(content, "WEBP", quality=QUALITY)
    return content.getvalue()
