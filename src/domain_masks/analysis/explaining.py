"""What the masks look at, on a sample of a run's images, with its model: maps, channels, features in two dimensions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from domain_masks.analysis.channels import Excitations
from domain_masks.analysis.feature_map import feature_map
from domain_masks.analysis.galleries import thumbnail_name
from domain_masks.analysis.opened_model import OpenedModel
from domain_masks.analysis.sampled_images import in_dataset, rows_of
from domain_masks.data import ImageDataset, Subset, evaluation_batches
from domain_masks.data.image_files import UNREADABLE
from domain_masks.data.overlays import as_webp, overlaid, pixels_of
from domain_masks.methods.activation_maps import class_activation_maps
from domain_masks.methods.base import PREDICTIONS, known
from domain_masks.networks import MaskedNetwork
from domain_masks.networks.map_layer import find_map_layer
from domain_masks.progress import Reporter
from domain_masks.records import Predictions
from domain_masks.records.counts import counted
from domain_masks.records.explanations import ChannelDifferences, ExplainedImage, FeatureMap, HeatMap, HeatMaps
from domain_masks.records.measured_metrics import FittedTemperature

BATCH = 64
FOLDER = "figures/thumbnails"


@dataclass
class Explained:
    """Class activation maps, the content of their files by name, and notes."""

    maps: HeatMaps
    files: dict[str, bytes] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def file(self, image: str, of: str, content: bytes) -> str:
        """Keep a file that shows ``of`` for an image; returns its path relative to the run folder."""
        name = thumbnail_name(f"{of}\0{image}")
        self.files[name] = content
        return f"{FOLDER}/{name}"


def heat_maps(
    model: OpenedModel,
    dataset: ImageDataset,
    sampled: Predictions,
    reporter: Reporter,
    temperatures: Mapping[str, FittedTemperature] | None = None,
) -> Explained:
    """Return class activation maps of the class that the run predicted for each image, under each mask or head and for all.

    - ``temperatures``: of the ensembles of a calibrated model

    Unreadable images are left out, with a note. Raises InputError if all images are missing, and as
    :func:`~domain_masks.methods.activation_maps.class_activation_maps` does.
    """
    chosen, gone = in_dataset(sampled, dataset)
    ensembles = [PREDICTIONS, *(name for source in chosen.sources if (name := known(source)) in chosen.logits)]
    layer = find_map_layer(model.method.network)
    found = Explained(HeatMaps(layer=layer.name, grid=[layer.height, layer.width], images=[]))
    predicted = chosen.of(PREDICTIONS).argmax(axis=1)
    images: list[ExplainedImage] = []
    rows = rows_of(dataset, chosen.ids.tolist()).tolist()
    for place, row in enumerate(reporter.track(rows, len(rows), "class activation maps")):
        try:
            with dataset.open_image(row) as image:
                pixels, inputs = pixels_of(model.preprocessing, image)
        except UNREADABLE:
            gone += 1
            continue
        label = torch.tensor([int(predicted[place])])
        maps = class_activation_maps(model.method, inputs.to(model.device), label, ensembles, layer, temperatures)
        name = str(chosen.ids[place])
        shown = {
            ensemble: HeatMap(
                probability=min(1.0, float(maps.probabilities[ensemble][0])),
                thumbnail=found.file(name, ensemble, as_webp(overlaid(pixels, heat[0]))),
                is_empty=not bool(heat.any()),
            )
            for ensemble, heat in maps.maps.items()
        }
        images.append(
            ExplainedImage(
                id=name,
                domain=chosen.domain_names[chosen.domains[place]],
                label=chosen.classes[chosen.labels[place]],
                predicted=chosen.classes[predicted[place]],
                thumbnail=found.file(name, "image", as_webp(overlaid(pixels))),
                maps=shown,
            )
        )
    if gone:
        found.notes.append(f"class activation maps: {gone} of {counted(len(sampled), 'image')} can no longer be read")
    found.maps = found.maps.model_copy(update={"images": images})
    return found


def look_at(
    model: OpenedModel,
    dataset: ImageDataset,
    sampled: Predictions,
    differences: ChannelDifferences | None,
    projection: Literal["pca", "umap", "none"],
    reporter: Reporter,
) -> tuple[ChannelDifferences | None, FeatureMap | None]:
    """Return the differing channels with the images that excite them most, and the features in two dimensions.

    Both from one pass over the images. Raises InputError if all are missing or one cannot be read.
    """
    chosen, _ = in_dataset(sampled, dataset)
    network = model.method.network
    excitations = None
    if differences is not None and isinstance(network, MaskedNetwork):
        excitations = Excitations(differences, model.method.context.sources)
    if excitations is None and projection == "none":
        return differences, None
    subset = Subset(dataset, rows_of(dataset, chosen.ids.tolist()))
    batches = evaluation_batches(subset, model.preprocessing, BATCH, with_labels=False)
    pooled: list[NDArray[np.float32]] = []
    with torch.inference_mode():
        for batch in reporter.track(batches, -(-len(subset) // BATCH), "features"):
            features = model.features(batch)
            if excitations is not None and isinstance(network, MaskedNetwork):
                excitations.add(network, features)
            if projection != "none":
                pooled.append(network.pooled(features).flatten(1).float().cpu().numpy())
    excited = differences if excitations is None else excitations.with_images(chosen)
    if projection == "none":
        return excited, None
    return excited, feature_map(np.concatenate(pooled), chosen, projection, network.boundary)
