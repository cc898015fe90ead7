"""Search ranges of settings, from which ``dmg benchmark --search N`` draws."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from domain_masks.errors import InputError


@dataclass(frozen=True)
class Uniform:
    """Any number between ``low`` and ``high``, or of whole numbers any one from ``low`` to ``high``.

    - ``log``: every factor is as likely as any other, not every difference; both ends are above 0 then
    """

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        """Raise InputError for a range that holds nothing."""
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise InputError(f"expected a range from a number to a larger one, got {self.low} to {self.high}")
        if self.log and self.low <= 0:
            raise InputError(f"expected a logarithmic range to begin above 0, got {self.low} to {self.high}")

    def at(self, share: float) -> float:
        """Return the value below which ``share``, in [0, 1), of all draws lie."""
        whole = isinstance(self.low, int) and isinstance(self.high, int)
        # Each whole number is as wide as any other: from half below it to half above.
        low, high = (self.low - 0.5, self.high + 0.5) if whole else (self.low, self.high)
        value = low * (high / low) ** share if self.log else low + share * (high - low)
        return min(max(round(value), int(self.low)), int(self.high)) if whole else float(value)

    def __str__(self) -> str:
        return f"{self.low} to {self.high}{' (logarithmic)' if self.log else ''}"


@dataclass(frozen=True)
class Choice:
    """Any one of ``values``."""

    values: tuple[Any, ...]

    def __post_init__(self) -> None:
        """Raise InputError for a choice of nothing."""
        if not self.values:
            raise InputError("expected values to choose from, got none")

    def at(self, share: float) -> Any:
        """Return the value at ``share``, in [0, 1), of all of them."""
        return self.values[int(share * len(self.values))]

    def __str__(self) -> str:
        return " or ".join(str(value) for value in self.values)


Range = Uniform | Choice
