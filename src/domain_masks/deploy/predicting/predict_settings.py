"""The settings of ``dmg predict``, from flags and YAML, checked together."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from domain_masks.deploy.predicting.prediction_writers import FORMATS
from domain_masks.errors import combine_errors
from domain_masks.records.setting_types import PlaceText
from domain_masks.records.validation import describe_mistakes


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _of_a_format(value: Any) -> Any:
    if isinstance(value, str) and Path(value).suffix.lower() not in FORMATS:
        raise ValueError(f"expected a file name that ends in {', '.join(FORMATS)}")
    return value


def _of_a_table(value: Any) -> Any:
    if isinstance(value, str) and Path(value).suffix.lower() != ".csv":
        raise ValueError("expected a file name that ends in .csv")
    return value


Count = Annotated[int, Field(ge=1, le=1_000_000)]


class PredictSettings(BaseModel):
    """What ``dmg predict`` needs to know; made by :func:`check_predict`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: PlaceText = Field(description="a run folder, a model file, or a name on the hub")
    paths: Annotated[list[PlaceText], BeforeValidator(_as_list), Field(min_length=1)]
    ensemble: PlaceText = "predictions"
    top: Count | None = Field(None, description="how many classes a row names; default: 5, and 1 on a terminal")
    out: Annotated[Path, BeforeValidator(_of_a_format)] | None = None
    errors: Annotated[Path, BeforeValidator(_of_a_table)] | None = None
    batch: Count = 64
    workers: Annotated[int, Field(ge=0, le=1_000)] | None = None
    device: PlaceText = "auto"
    null: bool = False


def check_predict(values: Mapping[str, Any], noted: list[str]) -> PredictSettings:
    """Check settings from flags and YAML.

    - ``noted``: mistakes that were found before

    Raises InputError that lists every mistake.
    """
    mistakes = list(noted)
    settings: PredictSettings | None = None
    needed = {"model": "expected the model: a run folder, model.safetensors, or hf:owner/name"}
    needed["paths"] = "expected images: files, folders, patterns in quotes, or - for a list on standard input"
    absent = {name: text for name, text in needed.items() if not values.get(name)}
    mistakes += absent.values()
    try:
        settings = PredictSettings.model_validate({name: value for name, value in values.items() if name not in absent})
    except ValidationError as error:
        names = [name for name in PredictSettings.model_fields if name not in absent]
        mistakes += [line for line in describe_mistakes(error, names) if line.partition(":")[0] not in absent]
    if settings is not None:
        mistakes += _places(settings)
    if settings is None or mistakes:
        raise combine_errors(mistakes)
    return settings


def _places(settings: PredictSettings) -> list[str]:
    named = {name: path for name in ("out", "errors") if (path := getattr(settings, name)) is not None}
    mistakes = [
        f"{name}: {str(path)!r} is a folder: expected a file's name" for name, path in named.items() if path.is_dir()
    ]
    if len(named) == 2 and len({path.absolute() for path in named.values()}) == 1:
        mistakes.append(f"out and errors: expected two files, got {str(settings.out)!r} for both")
    return mistakes


__all__ = ["PredictSettings", "check_predict"]
