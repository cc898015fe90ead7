"""The settings of image preparation, their values in runs that did not record them, and settings that a run resolves itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from domain_masks.records.config import AUTO, RunConfig, parse_config
from domain_masks.records.setting_types import OWN_RANGE, augmentation_name

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
USUAL_CROP = 224 / 256
"""The default crop, as a fraction of the shorter side."""

RECORDED = ("mean", "std", "interpolation", "crop")
"""Settings of image preparation besides size and shape."""

RESOLVED = {"batch": AUTO, "lr": AUTO, "value_range": OWN_RANGE, "precision": AUTO, "channels_last": AUTO}
"""Settings that a run can resolve itself -> the value that asks for it; ``config.yaml`` has the resolved value."""


def usual_preparation(square: bool | None) -> dict[str, Any]:
    """Return the values of :data:`RECORDED` where weights need no others, and of every run that did not record them.

    With ``square`` None, which no run records, the crop is left out.
    """
    usual = {
        "mean": IMAGENET_MEAN,
        "std": IMAGENET_STD,
        "interpolation": "bilinear",
        "crop": None if square is None else 1.0 if square else USUAL_CROP,
    }
    return {name: value for name, value in usual.items() if value is not None}


def as_started(config: RunConfig, values: Mapping[str, Any]) -> RunConfig:
    """Fill in settings of a configuration from ``values``, the recorded settings of a run that was started before.

    These are the preparation of images, and the settings that the run resolved itself. Raises InputError for invalid values.
    """
    recorded = _given(values, (*RECORDED, "size", "square", *RESOLVED))
    started = parse_config({**usual_preparation(values.get("square")), **recorded})
    names = [name for name in (*RECORDED, "size", "square") if getattr(config, name) is None]
    names += [name for name, asked in RESOLVED.items() if name in recorded and getattr(config, name) == asked]
    return config.model_copy(update={name: getattr(started, name) for name in names})


def with_usual_preparation(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the complete settings of a run; those of an older version by today's names, with what it did not record."""
    renamed = {"augmentation": augmentation_name(values["augmentation"])} if "augmentation" in values else {}
    return {**values, **renamed, **_plain(usual_preparation(values.get("square"))), **_given(values, RECORDED)}


def without_usual_preparation(settings: Mapping[str, Any], square: bool | None) -> dict[str, Any]:
    """Return plain settings without those of :data:`RECORDED` at the value of runs that did not record them."""
    usual = _plain(usual_preparation(square))
    return {name: value for name, value in settings.items() if name not in usual or value != usual[name]}


def _given(values: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: values[name] for name in names if values.get(name) is not None}


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
