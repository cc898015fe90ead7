"""Where in an image the evidence for its predicted class lies, as HTML images, from class activation maps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from domain_masks.data.overlays import as_webp, overlaid, pixels_of
from domain_masks.deploy.predicting.image_inputs import ImageInput, open_input
from domain_masks.errors import InputError
from domain_masks.methods.activation_maps import class_activation_maps
from domain_masks.methods.base import PREDICTIONS, known
from domain_masks.networks.map_layer import MapLayer, find_map_layer

if TYPE_CHECKING:
    from domain_masks.deploy.predicting.model import Model


Inputs = tuple[npt.NDArray[np.uint8], Tensor]
"""The pixels of an image, (S, S, 3), and the network's input, (1, 3, S, S)."""


@dataclass(frozen=True)
class Evidence:
    """The class activation maps of one image for the class ``class_name``.

    - ``layer``: where they were computed
    - ``maps``: ensemble, "predictions" or "known:SOURCE" -> the map over the image as WebP; None where it is 0 everywhere
    """

    class_name: str
    layer: MapLayer
    maps: Mapping[str, bytes | None]


class EvidenceFinder:
    """Computes the evidence in images for one model, as ``class_activation_maps`` of ``methods`` does."""

    def __init__(self, model: Model) -> None:
        self._model = model

    @cached_property
    def _layer(self) -> MapLayer | None:
        try:
            return find_map_layer(self._model.method.network)
        except InputError:
            return None

    def inputs(self, open_it: Callable[[], ImageInput]) -> Inputs:
        """Return an image as the network sees it; ``open_it`` returns the image."""
        with open_input(open_it()) as image:
            return pixels_of(self._model.preprocessing, image)

    def find(self, inputs: Inputs, class_name: str) -> Evidence | None:
        """Return the evidence for a class under the prediction ensemble and each mask or head; None if there are no maps."""
        if self._layer is None:
            return None
        model = self._model
        ensembles = [PREDICTIONS, *(known(source) for source in (model.sources if model.has_votes else ()))]
        pixels, images = inputs
        label = torch.tensor([model.classes.index(class_name)])
        try:
            found = class_activation_maps(model.method, images.to(model.device), label, ensembles, self._layer)
        except InputError:
            return None
        maps = {name: as_webp(overlaid(pixels, heat[0])) if heat.any() else None for name, heat in found.maps.items()}
        return Evidence(class_name, self._layer, maps)
