"""The types of settings, the values that each accepts, and the declaration of a setting: once, for flags, help and YAML."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    GetCoreSchemaHandler,
)
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, PydanticCustomError, PydanticUndefined
from pydantic_core.core_schema import no_info_after_validator_function

OWN_RANGE = "dataset"
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Flag:
    """How the command line shows a setting, besides its type and its help.

    - ``group``: the heading under which help lists it
    - ``metavar``: the name of its value; by default that of the type
    - ``otherwise``: help's description of a default that is not a single value
    - ``missing``: the message where a setting without a default is not given
    - ``letter``: a short flag, with its hyphen
    - ``positional``: whether it is given without a flag
    - ``bare``: the value of the flag alone
    - ``several``: whether it takes several words; by default lists do
    - ``repeats``: whether it may be given several times, each time with further words
    """

    group: str = ""
    metavar: str = ""
    otherwise: str = ""
    missing: str = ""
    letter: str = ""
    positional: bool = False
    bare: str | None = None
    several: bool | None = None
    repeats: bool = False


def setting(help_text: str, default: Any = PydanticUndefined, **flag: Any) -> Any:
    """Declare a setting with its help and its default; the keywords are those of :class:`Flag`."""
    return Field(default=default, description=help_text, json_schema_extra={"flag": asdict(Flag(**flag))})


def flag_of(field: FieldInfo) -> Flag:
    """Return how the command line shows a setting."""
    extra: Any = field.json_schema_extra
    return Flag(**extra["flag"]) if isinstance(extra, dict) else Flag()


@dataclass(frozen=True)
class Metavar:
    """The name of a type's value in help, and what a shell completes it with."""

    metavar: str
    completion: Literal["", "file", "folder"] = ""


@dataclass(frozen=True)
class OneOf:
    """A text that has to be one of the ``names`` at the time of validation, as the dict of names may be extended."""

    names: Callable[[], Iterable[str]]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return no_info_after_validator_function(self._check, handler(source))

    def _check(self, value: str) -> str:
        names = list(self.names())
        if value not in names:
            first = f"{', '.join(map(repr, names[:-1]))} or " if len(names) > 1 else ""
            listed = f"{first}{names[-1]!r}"
            raise PydanticCustomError("literal_error", "Input should be {expected}", {"expected": listed})
        return value


def as_list(value: Any) -> Any:
    """Accept one text for a list of one."""
    return (value,) if isinstance(value, str) else value


def as_names(value: Any) -> Any:
    """Split a comma-separated text into names."""
    if isinstance(value, str):
        return tuple(name.strip() for name in value.split(",") if name.strip())
    return value


def _at_home(value: Any) -> Any:
    """Expand the home folder, which shells do not do in ``--root=~/data``, and YAML never does."""
    return str(Path(value).expanduser()) if isinstance(value, str) and value.startswith("~/") else value


def _as_folder(value: Any) -> Any:
    """Refuse an empty text, which pathlib reads as the working folder: mostly an unset variable."""
    if value == "":
        raise ValueError("expected a folder")
    return _at_home(value)


def _not_empty(value: str) -> str:
    if not value:
        raise ValueError("String should have at least 1 character")
    return value


def none_alone(values: tuple[str, ...]) -> tuple[str, ...]:
    """Raise ValueError unless ``none`` stands alone, and every other value once."""
    if ("none" in values and len(values) > 1) or len(set(values)) < len(values):
        raise ValueError("expected every name once, or none alone")
    return values


def augmentation_name(value: Any) -> Any:
    """Accept the name that an augmentation had in earlier versions: ``standard`` was called ``domainnet``."""
    return "standard" if value == "domainnet" else value


def augmentation_in_keys(name: Any) -> Any:
    """Return the name of an augmentation in keys, which stay those of earlier versions."""
    return "domainnet" if name == "standard" else name


def as_seconds(value: Any) -> Any:
    """Convert 90, 90s, 1.5m and 2h to seconds; anything else is left to the validation of the type."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smh]?)\s*", value) if isinstance(value, str) else None
    return float(match[1]) * _UNITS[match[2] or "s"] if match else value


def as_range(value: Any) -> Any:
    """Write two numbers, in whatever form, as ``LOW,HIGH``."""
    if isinstance(value, str) and value.strip() == OWN_RANGE:
        return OWN_RANGE
    parts = value.split(",") if isinstance(value, str) else value
    try:
        low, high = (float(part) for part in parts)
    except (TypeError, ValueError):
        raise ValueError(f"expected two numbers as in 0,4095, or {OWN_RANGE}") from None
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError("expected two finite numbers, the lower one first")
    return f"{low:.10g},{high:.10g}"


def bounds_of(value_range: str | None) -> tuple[float, float] | None:
    """Return the two numbers of ``LOW,HIGH``; None where there are none, or they are not determined yet."""
    if value_range in (None, OWN_RANGE):
        return None
    low, high = map(float, str(value_range).split(","))
    return low, high


def three_numbers(value: Any) -> Any:
    """Accept one number for three, and a text of numbers separated by commas or blanks for a list."""
    if value is None:
        return None
    if isinstance(value, list | tuple) and len(value) == 1:
        value = value[0]
    if isinstance(value, str):
        value = value.replace(",", " ").split()
        value = value[0] if len(value) == 1 else value
    return value if isinstance(value, list | tuple) else (value,) * 3


def check_mean(values: tuple[float, ...] | None) -> tuple[float, ...] | None:
    """Raise ValueError unless all values can be means of numbers in [0, 1]."""
    if values is not None and not all(math.isfinite(value) and 0 <= value <= 1 for value in values):
        raise ValueError(
            "expected means of red, green and blue of values from 0 to 1 (divide those of 0 to 255 by 255)"
        )
    return values


def check_std(values: tuple[float, ...] | None) -> tuple[float, ...] | None:
    """Raise ValueError unless all values can be standard deviations of numbers in [0, 1]."""
    if values is not None and not all(math.isfinite(value) and 0 < value <= 1 for value in values):
        raise ValueError(
            "expected deviations of red, green and blue of values from 0 to 1, above 0 (divide those of 0 to 255 by 255)"
        )
    return values


Colour = tuple[float, float, float]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Workers = Annotated[int, Field(ge=0, le=1_000)]
Seconds = Annotated[Rate, BeforeValidator(as_seconds), Metavar("TIME")]
PlaceText = Annotated[str, AfterValidator(_not_empty), Metavar("PATH", "file")]
"""A text that may be a path of any bytes: pydantic's own length limits refuse text that is not UTF-8."""
Place = Annotated[PlaceText, BeforeValidator(_at_home)]
Folder = Annotated[Path, BeforeValidator(_as_folder), Metavar("DIR", "folder")]
File = Annotated[Path, BeforeValidator(_as_folder), Metavar("FILE", "file")]
DatasetPlace = Annotated[Place, Metavar("NAME|DIR|MANIFEST", "folder")]
ModelPlace = Annotated[PlaceText, Metavar("MODEL", "folder")]
"""A run folder, a model's file, or a name on the Hub."""
Device = Literal["auto", "cpu", "cuda", "mps"]
AnyDevice = Annotated[str, AfterValidator(_not_empty), Metavar("auto|cpu|cuda|mps")]
"""Also one of several, ``cuda:1``; whether it is available is checked with torch."""
Ensemble = Annotated[str, AfterValidator(_not_empty), Metavar("predictions|masks|weighted|known:DOMAIN")]
Names = Annotated[tuple[PlaceText, ...], BeforeValidator(as_list)]
