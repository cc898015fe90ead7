"""The settings of ``dmg export``, from flags and YAML, checked together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from domain_masks.errors import combine_errors
from domain_masks.records.predictions import MASK_ENSEMBLE, PREDICTION_ENSEMBLE
from domain_masks.records.run_folder import folder_name
from domain_masks.records.setting_types import PlaceText
from domain_masks.records.validation import describe_mistakes

Format = Literal["onnx", "pt2"]
FORMATS: tuple[Format, ...] = ("onnx", "pt2")
DEFAULT_OPSET = 18


@dataclass(frozen=True)
class ExportFormat:
    """What is exported, and how.

    - ``format``: ``onnx``, or ``pt2`` for ``torch.export.load``
    - ``ensemble``: ``predictions``, ``masks``, ``known:DOMAIN``, or another that the method has
    - ``opset``: of ONNX
    - ``half``: compute in float16; in and out stays float32
    - ``preprocessing``: take decoded images of any size, as bytes, instead of normalised images
    - ``threshold``: remove neurons whose probability lies below, in [0, 1]; None removes none
    """

    format: Format = "onnx"
    ensemble: str = PREDICTION_ENSEMBLE
    opset: int = DEFAULT_OPSET
    half: bool = False
    preprocessing: bool = False
    threshold: float | None = None

    @property
    def file_name(self) -> str:
        """The name that a file of these settings gets where none is given."""
        parts = ["model", folder_name(self.ensemble.replace(":", "-"))]
        parts += [] if self.threshold is None else [f"pruned-{self.threshold:g}"]
        parts += ["half"] if self.half else []
        parts += ["bytes"] if self.preprocessing else []
        return f"{'-'.join(parts)}.{self.format}"


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str | int | float) else value


def _as_text(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


Text = Annotated[PlaceText, BeforeValidator(_as_text)]
Probability = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class ExportSettings(BaseModel):
    """What ``dmg export`` needs to know; made by :func:`check_export`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: Text = Field(description="a run folder, a model file, or a name on the hub")
    format: Format = "onnx"
    ensemble: Text | None = None
    opset: Annotated[int, Field(ge=1, le=1_000)] | None = None
    half: bool = False
    preprocessing: bool = False
    prune: Annotated[list[Probability], BeforeValidator(_as_list)] = []
    images: Annotated[list[Text], BeforeValidator(_as_list)] = []
    dataset: Text | None = None
    root: Text | None = None
    limit: Annotated[int, Field(ge=1)] | None = None
    out: Annotated[Path, BeforeValidator(_as_text)] | None = None

    @property
    def is_curve(self) -> bool:
        """Whether several thresholds are to be measured, instead of one exported."""
        return len(set(self.prune)) > 1

    @property
    def exported(self) -> ExportFormat:
        """What is exported; of a curve, what all its points have in common."""
        return ExportFormat(
            self.format,
            self.ensemble or (MASK_ENSEMBLE if self.prune else PREDICTION_ENSEMBLE),
            self.opset or DEFAULT_OPSET,
            self.half,
            self.preprocessing,
            None if self.is_curve or not self.prune else self.prune[0],
        )

    @property
    def changes(self) -> dict[str, str]:
        """Where the run's dataset is, where that differs from the run's own settings."""
        return {name: value for name in ("dataset", "root") if (value := getattr(self, name)) is not None}


def check_export(values: Mapping[str, Any], noted: list[str]) -> ExportSettings:
    """Check settings from flags and YAML.

    - ``noted``: mistakes that were found before

    Raises InputError that lists every mistake.
    """
    mistakes = list(noted)
    settings: ExportSettings | None = None
    if not values.get("model"):
        mistakes.append("expected the model: a run folder, model.safetensors, or hf:owner/name")
    try:
        # A stand-in, so that what else is wrong is found as well.
        settings = ExportSettings.model_validate({**values, "model": values.get("model") or "?"})
    except ValidationError as error:
        mistakes += describe_mistakes(error, list(ExportSettings.model_fields))
    if settings is not None:
        mistakes += _contradictions(settings)
    if settings is None or mistakes:
        raise combine_errors(mistakes)
    return settings


def _contradictions(settings: ExportSettings) -> list[str]:
    mistakes = []
    if settings.opset is not None and settings.format != "onnx":
        mistakes.append(f"opset: it is ONNX's, expected none with format {settings.format}, got {settings.opset}")
    if settings.limit is not None and not settings.is_curve:
        mistakes.append("limit: it is for the curve over several thresholds, expected several with prune")
    if settings.images and settings.is_curve:
        mistakes.append("images: they have no labels, and a curve is measured on the run's dataset: leave them out")
    if settings.half and settings.is_curve:
        mistakes.append("half: a curve is measured in float32: leave it out")
    ending = ".csv" if settings.is_curve else f".{settings.format}"
    if settings.out is not None and settings.out.suffix != ending:
        mistakes.append(f"out: expected a file name that ends in {ending}, got {str(settings.out)!r}")
    elif settings.out is not None and settings.out.is_dir():
        mistakes.append(f"out: {str(settings.out)!r} is a folder: expected a file's name")
    return mistakes


__all__ = ["DEFAULT_OPSET", "FORMATS", "ExportFormat", "ExportSettings", "Format", "check_export"]
