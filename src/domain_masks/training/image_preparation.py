"""How images are prepared for the weights of a network: the defaults of the settings, and notes on them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from domain_masks.data import DatasetRecord, ImageDataset, Preprocessing, default_preprocessing
from domain_masks.networks import Preparation, find_backbone, preparation_of
from domain_masks.records.config import RunConfig
from domain_masks.records.preparation import RECORDED, usual_preparation

_OF_PHOTOS = 224
"""Datasets of smaller images keep their size for every network that takes it."""


def preparation_for(config: RunConfig) -> Preparation:
    """Return how images were prepared for a configuration's weights; an empty preparation without weights.

    Raises InputError for an unknown backbone.
    """
    library, name = find_backbone(str(config.backbone))
    return preparation_of(library, name, str(config.weights))


def image_defaults(config: RunConfig, record: DatasetRecord) -> dict[str, Any]:
    """Return size, shape, crop, normalisation and filter of images for a configuration with a backbone and weights.

    The dataset decides whether images are squashed to squares, and the size of small ones; all else follows the weights, or
    torchvision's for ImageNet where there are none or their file does not say it.
    """
    known = preparation_for(config)
    takes_its_own = known.size is not None and (known.fixed or record.size >= _OF_PHOTOS)
    square = config.square if config.square is not None else record.square or known.squash
    usual = usual_preparation(bool(square))
    whole = square and (record.square or not known.squash)
    if known.size is not None and known.resize is not None and not whole:
        usual["crop"] = known.size / known.resize
    of_weights = {name: getattr(known, name) for name in ("mean", "std", "interpolation")}
    return {
        **usual,
        **{name: value for name, value in of_weights.items() if value is not None},
        "size": known.size if takes_its_own else record.size,
        "square": square,
    }


def preprocessing_of(config: RunConfig, dataset: ImageDataset) -> Preprocessing:
    """Return the preprocessing of the images of ``dataset`` under a complete configuration."""
    base = default_preprocessing(dataset, config.size)
    square = base.square if config.square is None else config.square
    usual = usual_preparation(bool(square))
    chosen = {name: usual[name] if getattr(config, name) is None else getattr(config, name) for name in RECORDED}
    return replace(
        base,
        square=square,
        resize=round(base.size / chosen["crop"]),
        mean=chosen["mean"],
        std=chosen["std"],
        interpolation=chosen["interpolation"],
        value_range=config.value_bounds,
        stored=base.size if config.resizing == "released-code" else None,
    )


def image_notes(config: RunConfig) -> Iterator[str]:
    """Yield notes on how a complete configuration prepares images for its weights."""
    known = preparation_for(config)
    taken = _in_words(config)
    if not known.is_certain and not _differs(config, known):
        of = f"as for {known.of}" if known.of else "as for torchvision's weights of ImageNet"
        yield (
            f"the weights in {Path(str(config.weights)).name} do not say how their images were prepared: taken {of} "
            f"({taken}); say otherwise with --mean, --std, --interpolation and --crop"
        )
    elif known.is_certain and known.of and known.mean is not None and _differs(config, known):
        of_weights = config.model_copy(
            update={"mean": known.mean, "std": known.std, "interpolation": known.interpolation or config.interpolation}
        )
        yield f"images are prepared with {taken}, but {_in_words(of_weights)} belong to {known.of}"
    if known.fixed and known.size != config.size:
        yield f"{known.of} is made for images of {known.size} pixels, and gets {config.size}"
    if known.border and not config.square:
        yield f"{known.of} saw whole images on a background (crop_mode border): here their centre is cut out"


def _differs(config: RunConfig, known: Preparation) -> bool:
    usual = usual_preparation(bool(config.square))
    return any(
        getattr(config, name) != (getattr(known, name) if getattr(known, name) is not None else usual[name])
        for name in ("mean", "std", "interpolation")
    )


def _in_words(config: RunConfig) -> str:
    mean, std = (" ".join(f"{value:.4g}" for value in values or ()) for values in (config.mean, config.std))
    return f"mean {mean}, std {std}, {config.interpolation}"
