"""Checks of what a record holds: each yields a sentence for everything that is not as it should be.

A check takes a value and where it stands, which the sentences name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

Check = Callable[[Any, str], Iterator[str]]


def text(value: Any, where: str) -> Iterator[str]:
    """Accept text that is not empty."""
    if not isinstance(value, str) or not value:
        yield f"expected text as {where}, got {value!r}"


def texts(value: Any, where: str) -> Iterator[str]:
    """Accept a list of texts that are not empty."""
    if not isinstance(value, list | tuple) or not all(isinstance(entry, str) and entry for entry in value):
        yield f"expected a list of names as {where}, got {value!r}"


def truth(value: Any, where: str) -> Iterator[str]:
    """Accept true and false."""
    if not isinstance(value, bool | np.bool_):
        yield f"expected true or false as {where}, got {value!r}"


def whole(value: Any, where: str) -> Iterator[str]:
    """Accept a whole number from 0."""
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < 0:
        yield f"expected a whole number that is not negative as {where}, got {value!r}"


def counted(value: Any, where: str) -> Iterator[str]:
    """Accept a whole number from 1, such as an epoch."""
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < 1:
        yield f"expected a whole number from 1 as {where}, got {value!r}"


def one_more(value: Any) -> Any:
    """Return a whole number that was counted from 0 as counted from 1; anything else, which a check refuses, as it is."""
    return value + 1 if isinstance(value, int) and not isinstance(value, bool) else value


def fraction(value: Any, where: str) -> Iterator[str]:
    """Accept a number in [0, 1]."""
    yield from _number(value, where, 1.0, "a fraction in [0, 1]")


def seconds(value: Any, where: str) -> Iterator[str]:
    """Accept a finite number from 0."""
    yield from _number(value, where, math.inf, "a finite number that is not negative")


def fraction_or_none(value: Any, where: str) -> Iterator[str]:
    """Accept a number in [0, 1], or None."""
    if value is not None:
        yield from fraction(value, where)


def each(check: Check) -> Check:
    """Return the check of a mapping from names to what ``check`` accepts."""

    def checked(value: Any, where: str) -> Iterator[str]:
        if not isinstance(value, Mapping):
            yield f"expected a mapping as {where}, got {value!r}"
            return
        for name, inner in value.items():
            yield from check(inner, f"{where}.{name}")

    return checked


def listed(check: Check) -> Check:
    """Return the check of a list of what ``check`` accepts."""

    def checked(value: Any, where: str) -> Iterator[str]:
        if not isinstance(value, list | tuple):
            yield f"expected a list as {where}, got {value!r}"
            return
        for index, inner in enumerate(value):
            yield from check(inner, f"{where}[{index}]")

    return checked


def keys(checks: Mapping[str, Check], optional: tuple[str, ...] = ()) -> Check:
    """Return the check of a mapping with these keys, of which some may be absent, and any others."""

    def checked(value: Any, where: str) -> Iterator[str]:
        if not isinstance(value, Mapping):
            yield f"expected a mapping as {where or 'the content'}, got {value!r}"
            return
        for name, check in checks.items():
            full = f"{where}.{name}" if where else name
            if name in value:
                yield from check(value[name], full)
            elif name not in optional:
                yield f"expected {full}, which is missing"

    return checked


def _number(value: Any, where: str, most: float, meaning: str) -> Iterator[str]:
    is_number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or not 0 <= value <= most:
        yield f"expected {meaning} as {where}, got {value!r}; leave out what the method does not have"
