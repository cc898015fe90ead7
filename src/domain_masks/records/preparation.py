"""The settings that say how images become numbers, what they were before runs recorded them, and what a run found itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from domain_masks.records.config import AUTO, RunConfig, parse_config
from domain_masks.records.setting_types import OWN_RANGE, augmentation_name

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
USUAL_CROP = 224 / 256
"""Share of the shorter side that is seen where nothing else is known."""

RECORDED = ("mean", "std", "interpolation", "crop")
"""Settings that decide what a network sees of an image besides its size and shape."""

FOUND = {"batch": AUTO, "value_range": OWN_RANGE}
"""Settings that a run can be left to find itself, and how that is asked for; ``config.yaml`` holds what it found."""


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


def as_started(config: RunConfig, values: Mapping[str, Any]) -> RunConfig:
    """Return the configuration with what it leaves open as in ``values``, the settings of a run that was begun.

    That is how images are prepared, and what the run was left to find itself. Raises InputError for values that cannot be.
    """
    given = _given(values, (*RECORDED, "size", "square", *FOUND))
    begun = parse_config({**usual_preparation(values.get("square")), **given})
    names = [name for name in (*RECORDED, "size", "square") if getattr(config, name) is None]
    names += [name for name, asked in FOUND.items() if name in given and getattr(config, name) == asked]
    return config.model_copy(update={name: getattr(begun, name) for name in names})


def with_usual_preparation(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the complete settings of a run; of an older one with what it did not record, by today's names."""
    renamed = {"augmentation": augmentation_name(values["augmentation"])} if "augmentation" in values else {}
    return {**values, **renamed, **_plain(usual_preparation(values.get("square"))), **_given(values, RECORDED)}


def without_usual_preparation(settings: Mapping[str, Any], square: bool | None) -> dict[str, Any]:
    """Return plain settings without those of :data:`RECORDED` that are as they were before runs recorded them."""
    usual = _plain(usual_preparation(square))
    return {name: value for name, value in settings.items() if name not in usual or value != usual[name]}


def _given(values: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: values[name] for name in names if values.get(name) is not None}


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
