"""The draws of a random search: equally many for every method, from the ranges in its description.

A draw is keyed by the seed, the setting and its number: the first draws do not depend on how many there are, and settings that
methods share, such as the learning rate, get the same values for all.
"""

from __future__ import annotations

from typing import Any

from domain_masks.errors import InputError, combine_errors
from domain_masks.methods.method_registry import described
from domain_masks.methods.search_ranges import Range, Uniform
from domain_masks.randomness import key
from domain_masks.records.config import RunConfig
from domain_masks.settings.sweeps import METHOD, Variation, varied_mistakes

FACTOR = 10.0
"""The learning rate of every method is drawn between the default divided and multiplied by this."""
_DIGITS = 3


def ranges_of(config: RunConfig) -> dict[str, Range]:
    """Return setting -> its range, for the method of a complete configuration."""
    kind = described(config.method_name)
    shared: dict[str, Range] = {}
    if not kind.is_closed_form() and (rate := config.learning_rate) is not None:
        shared["lr"] = Uniform(_rounded(rate / FACTOR), _rounded(rate * FACTOR), log=True)
    return shared | dict(kind.search)


def draws(config: RunConfig, count: int, seed: int) -> list[Variation]:
    """Return the settings to try for the method of a complete configuration: the defaults, and ``count`` - 1 draws.

    Raises InputError where its description has ranges of unknown settings or with invalid values.
    """
    name, ranges = config.method_name, ranges_of(config)
    variations = [Variation(methods=(name,))]
    for number in range(1, count):
        settings = {setting: _drawn(setting, name, within, seed, number) for setting, within in ranges.items()}
        variations.append(Variation(settings=settings, methods=(name,)))
    if wrong := list(varied_mistakes(None, [{"name": name}], variations)):
        raise InputError(f"method {name!r} has ranges for a search that cannot be used: {combine_errors(wrong)}")
    return variations


def _drawn(setting: str, method: str, within: Range, seed: int, number: int) -> Any:
    own = f"{method}/" if setting.startswith(METHOD) else ""
    value = within.at(key(seed, f"search/{own}{setting}", number) / 2**63)
    if isinstance(value, float) and isinstance(within, Uniform):
        # Rounded to few digits; the result stays in the range.
        return min(max(_rounded(value), within.low), within.high)
    return value


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
