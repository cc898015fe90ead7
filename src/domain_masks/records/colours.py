"""Three numbers, one per colour, as settings give them."""

from __future__ import annotations

import math
from typing import Any


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
