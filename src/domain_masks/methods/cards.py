"""What ``model.json`` may say: checked before a network of that size is built."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from domain_masks.errors import RunFolderError
from domain_masks.methods.tensor_files import MOST_BYTES as MOST_STATE_BYTES
from domain_masks.records.validation import describe_mistakes

MOST_CLASSES = 100_000
MOST_SOURCES = 1_000
MOST_SITES = 1_000
MOST_NEURONS = 1_000_000
MOST_PIXELS = 4_096
"""The size that a run may have at most, too."""
MOST_BYTES = 64_000_000
"""Of the file; far more than names of ``MOST_CLASSES`` need."""

NEEDED = ("backbone", "classes", "sources", "image_size", "boundary", "sites", "method")


def _writable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError("expected text that can be written in UTF-8") from error
    return text


def _different(names: list[str]) -> list[str]:
    if len(set(names)) < len(names):
        twice = next(name for index, name in enumerate(names) if name in names[:index])
        raise ValueError(f"expected names that differ, {twice!r} comes twice")
    return names


Name = Annotated[str, Field(min_length=1, max_length=1_000), AfterValidator(_writable)]
Names = Annotated[list[Name], AfterValidator(_different)]
Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class _Open(BaseModel):
    """Types as they stand, no conversions; what a newer minor version adds is let through."""

    model_config = ConfigDict(strict=True, extra="allow")


class _Site(_Open):
    model_config = ConfigDict(strict=True, extra="forbid")

    name: Name
    axis: Annotated[int, Field(ge=-8, le=8)]
    size: Annotated[int, Field(ge=1, le=MOST_NEURONS)]


class _Method(_Open):
    name: Name


class _Accuracies(_Open):
    split: Name
    accuracy: Fraction
    count: Annotated[int, Field(ge=0)] | None = None
    per_domain: dict[Name, Fraction]
    by_ensemble: dict[Name, Fraction] = {}


class _MaskStatistics(_Open):
    overall_iou: Fraction | None = None
    pairwise_iou: dict[str, Fraction] = {}
    activated: dict[Name, Fraction] = {}
    average_activated: Fraction | None = None


class _Protocol(_Open):
    selection: Name
    target_labels_used: bool


class _TensorForm(_Open):
    dtype: Name
    shape: list[Annotated[int, Field(ge=0, le=MOST_STATE_BYTES)]]


class _ExtraState(_Open):
    value: Any
    tensors: list[_TensorForm]


def _small_enough(extra: _ExtraState) -> _ExtraState:
    # Of the smallest type; the file's own header says which it is.
    if sum(prod(tensor.shape) for tensor in extra.tensors) > MOST_STATE_BYTES:
        raise ValueError(f"expected at most {MOST_STATE_BYTES:,} bytes of tensors")
    return extra


class _Card(_Open):
    backbone: Name
    classes: Annotated[Names, Field(min_length=1, max_length=MOST_CLASSES)]
    sources: Annotated[Names, Field(min_length=1, max_length=MOST_SOURCES)]
    image_size: Annotated[int, Field(ge=1, le=MOST_PIXELS)]
    boundary: Name
    sites: Annotated[list[_Site], Field(max_length=MOST_SITES)]
    method: _Method
    version: Name | None = None
    dataset: Name | None = None
    targets: Names = []
    trained_on: Names = []
    plugin: Name | None = None
    network: dict[str, Any] | None = None
    preprocessing: dict[str, Any] | None = None
    protocol: _Protocol | None = None
    accuracies: dict[Name, _Accuracies] = {}
    masks: dict[Name, _MaskStatistics] = {}
    training: dict[str, Any] | None = None
    extra_state: dict[Name, Annotated[_ExtraState, AfterValidator(_small_enough)]] = {}
    not_finite: Names = []


def check_card(card: Mapping[str, Any], path: Path) -> None:
    """Raise RunFolderError, which lists every mistake, unless ``card``, read from ``path``, describes a model.

    Types have to be right, names different and all sizes such as a network may have.
    """
    absent = [key for key in NEEDED if key not in card]
    nameless = isinstance(card.get("method"), Mapping) and "name" not in card["method"]
    if absent or nameless:
        raise RunFolderError(
            f"{path} describes no model: expected {', '.join(NEEDED)} and the method's name, "
            f"got no {', '.join(absent) or 'name'}; write the model anew"
        )
    try:
        _Card.model_validate(dict(card))
    except ValidationError as error:
        mistakes = describe_mistakes(error, list(_Card.model_fields))
        raise RunFolderError(f"{path} describes no model that can be built: {'; '.join(mistakes)}") from error
