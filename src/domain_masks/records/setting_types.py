"""The types of settings, and what is taken for a value of each."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
)

OWN_RANGE = "dataset"
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def as_list(value: Any) -> Any:
    """Take one text for a list of one."""
    return (value,) if isinstance(value, str) else value


def as_names(value: Any) -> Any:
    """Split a comma-separated text into names."""
    if isinstance(value, str):
        return tuple(name.strip() for name in value.split(",") if name.strip())
    return value


def as_domains(value: Any) -> Any:
    """Split a comma-separated text; what it means, ``none`` among it, is known with the dataset's domains."""
    return as_names(value)


def _at_home(value: Any) -> Any:
    """Write out the home folder, which shells do not do in ``--root=~/data``, and YAML never does."""
    return str(Path(value).expanduser()) if isinstance(value, str) and value.startswith("~/") else value


def _as_folder(value: Any) -> Any:
    """Refuse an empty text, which pathlib takes for the working folder: mostly a variable that is not set."""
    if value == "":
        raise ValueError("expected a folder")
    return _at_home(value)


def _not_empty(value: str) -> str:
    if not value:
        raise ValueError("String should have at least 1 character")
    return value


def as_seconds(value: Any) -> Any:
    """Take 90, 90s, 1.5m and 2h for seconds; anything else is left to the check of the type."""
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
    """Return the two numbers that ``LOW,HIGH`` stands for; None where there are none, or they have not been looked for yet."""
    if value_range in (None, OWN_RANGE):
        return None
    low, high = map(float, str(value_range).split(","))
    return low, high


def three_numbers(value: Any) -> Any:
    """Take one number for three, and a text of numbers with commas or blanks between for a list."""
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
    """Raise ValueError unless all values can be what numbers in [0, 1] are divided by."""
    if values is not None and not all(math.isfinite(value) and 0 < value <= 1 for value in values):
        raise ValueError(
            "expected deviations of red, green and blue of values from 0 to 1, above 0 (divide those of 0 to 255 by 255)"
        )
    return values


Colour = tuple[float, float, float]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
PlaceText = Annotated[str, AfterValidator(_not_empty)]
"""A text that may be a path, of any bytes: pydantic's own check of the length refuses what is no UTF-8."""
Place = Annotated[PlaceText, BeforeValidator(_at_home)]
Folder = Annotated[Path, BeforeValidator(_as_folder)]
