"""Pretrained weights of torchvision and timm, and the preprocessing that they were trained with."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from domain_masks.networks.architecture import Library
from domain_masks.networks.weights_files import read_weights
from domain_masks.records.file_state import digest_of_file

Interpolation = Literal["bilinear", "bicubic"]
INTERPOLATIONS: tuple[Interpolation, ...] = ("bilinear", "bicubic")
_CONFIG = "config.json"
"""File beside a timm network's weights on the Hub."""


@dataclass(frozen=True)
class Preparation:
    """The preprocessing of images for a network's weights; None for unknown values.

    - ``size``: side of the network's input in pixels; ``fixed``: whether the network accepts no other size
    - ``resize``: side to which the image (its shorter side, or with ``squash`` both) is resized before the centre crop
    - ``mean``, ``std``: per channel, for values in [0, 1]
    - ``border``: whether images were padded to the target shape, which is not supported
    - ``of``: source of these values, for messages
    - ``is_certain``: False if a weights file does not determine them
    """

    size: int | None = None
    fixed: bool = False
    resize: int | None = None
    squash: bool = False
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    interpolation: Interpolation | None = None
    border: bool = False
    of: str = ""
    is_certain: bool = True


@dataclass(frozen=True)
class PublishedWeights:
    """Weights that a library publishes: torchvision's ``entry``, and the input size that they require."""

    entry: Any = None
    fixed_size: int | None = None


def published_weights(library: Library, name: str, weights: str | Path) -> PublishedWeights | None:
    """Return the published weights for ``imagenet``, or those that a file contains; None for other weights.

    A file matches by its name or content, or by the number of classes if the library publishes a single set of weights.

    Raises InputError for an unreadable file if its content is needed.
    """
    if str(weights) == "none" or library == "own":
        return None
    if library == "torchvision":
        return _of_torchvision(name, weights)
    configuration = _timms_configuration(name)
    if configuration is None:
        return None
    if str(weights) == "imagenet":
        return PublishedWeights()
    head = configuration.get("classifier")
    heads = [head] if isinstance(head, str) else list(head or ())
    return PublishedWeights() if _has_classes(Path(weights), heads, configuration.get("num_classes")) else None


def preparation_of(library: Library, name: str, weights: str | Path) -> Preparation:
    """Return the preprocessing for ``weights`` (``imagenet``, ``none`` or a file) of a network; reads no tensors."""
    if library == "own":
        return Preparation()
    if library == "torchvision":
        entry = None if str(weights) == "none" else _torchvision_entry(name, weights)
        return Preparation(is_certain=str(weights) == "none") if entry is None else _of_entry(entry)
    configuration = _timms_configuration(name) or {}
    if str(weights) == "none":
        size = _side(configuration)
        fixed = bool(configuration.get("fixed_input_size"))
        return Preparation(size=size if fixed else None, fixed=fixed, of=f"timm's {name}")
    beside = None if str(weights) == "imagenet" else _configuration_beside(Path(weights))
    if beside is not None:
        return _of_configuration(beside, f"{_CONFIG} beside the file", True)
    tag = configuration.get("tag")
    full = f"timm's {name}.{tag}" if tag and "." not in name else f"timm's {name}"
    return _of_configuration(configuration, full, str(weights) == "imagenet")


def timms_tag(name: str) -> str:
    """Return the tag of timm's default weights for ``name``; ``""`` if there are none."""
    return str((_timms_configuration(name) or {}).get("tag") or "")


def _of_torchvision(name: str, weights: str | Path) -> PublishedWeights | None:
    entry = _torchvision_entry(name, weights)
    if entry is None:
        if name not in ("googlenet", "inception_v3") or not _has_classes(Path(weights), ["fc"], 1000):
            return None
        return PublishedWeights()
    sides = {"vit": 224, "maxvit": 224}
    fixed = entry.transforms().crop_size[0] if name.partition("_")[0] in sides else None
    return PublishedWeights(entry, fixed_size=fixed)


def _torchvision_entry(name: str, weights: str | Path) -> Any:
    """Return torchvision's entry of ``imagenet`` or of one of its files, known by name or content; None for other files."""
    from torchvision import models  # noqa: PLC0415

    available = models.get_model_weights(name)
    if str(weights) == "imagenet":
        # The paper used the first version; later versions have other training recipes.
        return getattr(available, "IMAGENET1K_V1", None) or available.DEFAULT
    path = Path(weights)
    by_name = {Path(entry.url).name: entry for entry in available}
    if path.name in by_name:
        return by_name[path.name]
    digest = _sha256(path)
    # A published file's name ends with the first digits of its hash.
    matches = [
        entry for known, entry in by_name.items() if digest and digest.startswith(Path(known).stem.split("-")[-1])
    ]
    return matches[0] if matches else None


def _sha256(path: Path) -> str:
    try:
        return digest_of_file(path, "sha256")
    except OSError:  # reported when the weights are read
        return ""


def _of_entry(entry: Any) -> Preparation:
    transforms = entry.transforms()
    return Preparation(
        size=int(transforms.crop_size[0]),
        fixed=entry.__class__.__name__.startswith(("ViT_", "MaxVit_")),
        resize=int(transforms.resize_size[0]),
        mean=_three(transforms.mean),
        std=_three(transforms.std),
        interpolation=_known(transforms.interpolation.value),
        of=f"torchvision's {entry}",
    )


def _timms_configuration(name: str) -> dict[str, Any] | None:
    from timm.models import get_pretrained_cfg  # noqa: PLC0415

    try:
        configuration: Any = get_pretrained_cfg(name)
    except RuntimeError:  # an unknown tag, which is reported when the network is built
        return None
    return None if configuration is None else {**configuration.to_dict(), "tag": configuration.tag}


def _configuration_beside(path: Path) -> dict[str, Any] | None:
    """Return timm's configuration beside a weights file from the Hub; None if there is none."""
    try:
        content = json.loads((path.parent / _CONFIG).read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    configuration = content.get("pretrained_cfg") if isinstance(content, dict) else None
    if not isinstance(configuration, dict):
        return None
    usable = _three(configuration.get("mean")) is not None and _three(configuration.get("std")) is not None
    return configuration if usable else None


def _of_configuration(configuration: Mapping[str, Any], of: str, is_certain: bool) -> Preparation:
    size = _side(configuration)
    share = configuration.get("crop_pct")
    share = float(share) if isinstance(share, int | float) and 0 < share <= 1 else 1.0
    return Preparation(
        size=size,
        fixed=bool(configuration.get("fixed_input_size")),
        # As in timm.
        resize=None if size is None else max(size, math.floor(size / share)),
        squash=configuration.get("crop_mode") == "squash",
        mean=_three(configuration.get("mean")),
        std=_three(configuration.get("std")),
        interpolation=_known(configuration.get("interpolation")),
        border=configuration.get("crop_mode") == "border",
        of=of,
        is_certain=is_certain,
    )


def _side(configuration: Mapping[str, Any]) -> int | None:
    size = configuration.get("input_size")
    return int(size[-1]) if isinstance(size, list | tuple) and len(size) == 3 else None


def _three(values: Any) -> tuple[float, float, float] | None:
    if not isinstance(values, list | tuple) or len(values) != 3:
        return None
    if not all(isinstance(value, int | float) and math.isfinite(value) for value in values):
        return None
    return float(values[0]), float(values[1]), float(values[2])


def _known(interpolation: Any) -> Interpolation | None:
    return interpolation if interpolation in INTERPOLATIONS else None


def _has_classes(path: Path, heads: list[str], classes: int | None) -> bool:
    """Return whether a file has a last layer with ``classes`` outputs; raises InputError if it cannot be read."""
    names = tuple(f"{head}.weight" for head in heads)
    return any(
        name.endswith(names) and value.shape[:1] == (classes,) for name, value in read_weights(path).items() if names
    )
