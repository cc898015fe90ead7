"""Search ranges of settings, from which ``dmg benchmark --search N`` samples."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from domain_masks.errors import InputError


@dataclass(frozen=True)
class Uniform:
    """A uniform distribution from ``low`` to ``high``; over integers, both ends included, if both are integers.

    - ``log``: log-uniform; requires ``low`` above 0

    Raises InputError for an empty or infinite range.
    """

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        """Raise InputError for an empty or infinite range."""
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise InputError(f"expected a range from a number to a larger one, got {self.low} to {self.high}")
        if self.log and self.low <= 0:
            raise InputError(f"expected a logarithmic range to begin above 0, got {self.low} to {self.high}")

    def at(self, share: float) -> float:
        """Return the quantile ``share``, in [0, 1)."""
        whole = isinstance(self.low, int) and isinstance(self.high, int)
        # Each integer has an interval of equal width, from 0.5 below to 0.5 above.
        low, high = (self.low - 0.5, self.high + 0.5) if whole else (self.low, self.high)
        value = low * (high / low) ** share if self.log else low + share * (high - low)
        return min(max(round(value), int(self.low)), int(self.high)) if whole else float(value)

    def __str__(self) -> str:
        return f"{self.low} to {self.high}{' (logarithmic)' if self.log else ''}"


@dataclass(frozen=True)
class Choice:
    """A uniform distribution over ``values``; raises InputError if there are none."""

    values: tuple[Any, ...]

    def __post_init__(self) -> None:
        """Raise InputError if there are no values."""
        if not self.values:
            raise InputError("expected values to choose from, got none")

    def at(self, share: float) -> Any:
        """Return the value at the fraction ``share``, in [0, 1), of the list."""
        return self.values[int(share * len(self.values))]

    def __str__(self) -> str:
        return " or ".join(str(value) for value in self.values)


Range = Uniform | Choice
