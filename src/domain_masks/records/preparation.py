"""The settings that say how images become numbers, and what they were before runs recorded them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from domain_masks.records.config import RunConfig, parse_config

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
USUAL_CROP = 224 / 256
"""Share of the shorter side that is seen where nothing else is known."""

RECORDED = ("mean", "std", "interpolation", "crop")
"""Settings that decide what a network sees of an image besides its size and shape."""


def usual_preparation(square: bool | None) -> dict[str, Any]:
    """Return the values of :data:`RECORDED` where weights ask for none, and of every run that did not record them.

    ``square`` None, which no run records, says nothing of the share.
    """
    usual = {
        "mean": IMAGENET_MEAN,
        "std": IMAGENET_STD,
        "interpolation": "bilinear",
        "crop": None if square is None else 1.0 if square else USUAL_CROP,
    }
    return {name: value for name, value in usual.items() if value is not None}


def as_begun(config: RunConfig, values: Mapping[str, Any]) -> RunConfig:
    """Return the configuration with what it leaves open of images as in ``values``, the settings of a run that was begun.

    Raises InputError for values that cannot be.
    """
    there = {**usual_preparation(values.get("square")), **_given(values, (*RECORDED, "size", "square"))}
    begun = parse_config(there)
    missing = {name: getattr(begun, name) for name in there if getattr(config, name) is None}
    return config.model_copy(update=missing)


def with_usual_preparation(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the complete settings of a run; of one that did not record :data:`RECORDED`, with what they were then."""
    return {**values, **_plain(usual_preparation(values.get("square"))), **_given(values, RECORDED)}


def without_usual_preparation(settings: Mapping[str, Any], square: bool | None) -> dict[str, Any]:
    """Return plain settings without those of :data:`RECORDED` that are as they were before runs recorded them."""
    usual = _plain(usual_preparation(square))
    return {name: value for name, value in settings.items() if name not in usual or value != usual[name]}


def _given(values: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: values[name] for name in names if values.get(name) is not None}


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
