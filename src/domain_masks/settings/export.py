"""The settings of ``dmg export``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from domain_masks.deploy.exporting.export_format import DEFAULT_OPSET, ExportFormat, Format
from domain_masks.records.ensemble_names import MASK_ENSEMBLE, PREDICTION_ENSEMBLE
from domain_masks.records.setting_types import (
    Count,
    DatasetPlace,
    Ensemble,
    File,
    Folder,
    Metavar,
    ModelPlace,
    Names,
    Share,
    setting,
)
from domain_masks.settings.command import MODEL_HELP, MODEL_MISSING, CommandSettings


def _as_list(value: Any) -> Any:
    return (value,) if isinstance(value, str | int | float) else value


class ExportSettings(CommandSettings):
    """Settings of ``dmg export``."""

    model: ModelPlace = setting(MODEL_HELP, positional=True, missing=MODEL_MISSING)
    format: Format = setting("onnx, or pt2 for torch.export.load in Python and C++", "onnx")
    ensemble: Ensemble | None = setting(
        "how masks are combined", None, otherwise=f"{PREDICTION_ENSEMBLE}; with --prune {MASK_ENSEMBLE}"
    )
    opset: Annotated[int, Field(ge=1, le=1_000)] | None = setting("ONNX opset", None, otherwise=str(DEFAULT_OPSET))
    half: bool = setting("compute in float16; input and output stay float32", False)
    preprocessing: bool = setting(
        "resize, crop and normalise in the file, which then takes RGB bytes of any height and width", False
    )
    prune: Annotated[tuple[Annotated[Share, Metavar("T")], ...], BeforeValidator(_as_list)] = setting(
        "remove the channels whose mask probability lies below T in [0, 1]; with several T, measure the curve of accuracy "
        "over T instead of exporting",
        (),
    )
    images: Names = setting("images to compare the file and the model on, instead of the run's own", (), metavar="FILE")
    dataset: DatasetPlace | None = setting("the run's dataset, if it has moved", None)
    root: Folder | None = setting("where the run's dataset lies now", None)
    limit: Count | None = setting("images of each split on which the curve is measured", None, otherwise="all")
    out: File | None = setting(
        "the exported file, or the curve's .csv", None, otherwise="beside the model, named by these settings"
    )

    @property
    def is_curve(self) -> bool:
        """Whether the curve over several thresholds is measured instead of exporting one."""
        return len(set(self.prune)) > 1

    @property
    def exported(self) -> ExportFormat:
        """The variant to export; for a curve, the settings that all its points share."""
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
        """The location of the run's dataset, where it differs from the run's settings."""
        return {name: str(value) for name in ("dataset", "root") if (value := getattr(self, name)) is not None}

    def contradictions(self) -> Iterator[str]:
        """Yield a line for every setting that contradicts the format or the curve."""
        if self.opset is not None and self.format != "onnx":
            yield f"opset: only ONNX has one: leave it out with format {self.format}, got {self.opset}"
        if self.limit is not None and not self.is_curve:
            yield "limit: it is for the curve over several thresholds: give several to prune, or leave it out"
        if self.images and self.is_curve:
            yield "images: they have no labels, and a curve is measured on the run's dataset: leave them out"
        if self.half and self.is_curve:
            yield "half: a curve is measured in float32: leave it out"
        ending = ".csv" if self.is_curve else f".{self.format}"
        if self.out is not None and self.out.suffix != ending:
            yield f"out: expected a file name that ends in {ending}, got {str(self.out)!r}"
        elif self.out is not None and self.out.is_dir():
            yield f"out: {str(self.out)!r} is a folder: expected a file name"
