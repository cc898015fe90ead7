"""The settings of ``dmg demo``, from flags and YAML, checked together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from domain_masks.errors import combine_errors
from domain_masks.records.setting_types import Folder, PlaceText
from domain_masks.records.validation import describe_mistakes

HOST = "127.0.0.1"
PORT = 7860


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class DemoSettings(BaseModel):
    """What ``dmg demo`` needs to know; made by :func:`check_demo`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: PlaceText = Field(description="a run folder, a model file, or a name on the hub")
    examples: Annotated[list[PlaceText], BeforeValidator(_as_list)] = []
    root: Folder | None = None
    ensemble: PlaceText = "predictions"
    host: PlaceText = HOST
    port: Annotated[int, Field(ge=0, le=65_535)] = PORT
    device: PlaceText = "auto"


def check_demo(values: Mapping[str, Any], noted: list[str]) -> DemoSettings:
    """Check settings from flags and YAML.

    - ``noted``: mistakes that were found before

    Raises InputError that lists every mistake.
    """
    mistakes = list(noted)
    given = dict(values)
    if not given.get("model"):
        given.pop("model", None)
        mistakes.append("expected the model: a run folder, model.safetensors, or hf:owner/name")
    if given.get("examples") and given.get("root"):
        mistakes.append("examples and root: expected one of them, root is where the run's own dataset lies")
    settings: DemoSettings | None = None
    try:
        settings = DemoSettings.model_validate(given)
    except ValidationError as error:
        lines = describe_mistakes(error, list(DemoSettings.model_fields))
        mistakes += [line for line in lines if "model" in given or line.partition(":")[0] != "model"]
    if settings is None or mistakes:
        raise combine_errors(mistakes)
    return settings


__all__ = ["DemoSettings", "check_demo"]
