"""Ranges give what lies in them, evenly by difference, by factor or by value."""

from __future__ import annotations

import numpy as np
import pytest

from domain_masks.errors import InputError
from domain_masks.methods import Choice, Uniform

SHARES = (np.arange(1000) + 0.5) / 1000


def test_a_range_is_even_by_difference() -> None:
    values = [Uniform(-1.0, 3.0).at(share) for share in SHARES]
    assert np.allclose(values, -1 + 4 * SHARES)


def test_a_logarithmic_range_is_even_by_factor() -> None:
    values = [Uniform(1e-4, 1.0, log=True).at(share) for share in SHARES]
    assert np.allclose(np.log10(values), -4 + 4 * SHARES)


def test_whole_numbers_are_equally_likely() -> None:
    values = [Uniform(1, 4).at(share) for share in SHARES]
    assert all(isinstance(value, int) for value in values)
    assert [values.count(number) for number in (1, 2, 3, 4)] == [250] * 4
    assert {Uniform(2, 64, log=True).at(share) for share in (0.0, 1 - 1e-12)} == {2, 64}


def test_values_are_equally_likely() -> None:
    values = [Choice(("first", "second", None)).at(share) for share in SHARES]
    assert [values.count(value) for value in ("first", "second", None)] == [333, 334, 333]


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (lambda: Uniform(1.0, 1.0), "a larger one, got 1.0 to 1.0"),
        (lambda: Uniform(0.0, float("inf")), "a larger one"),
        (lambda: Uniform(0.0, 1.0, log=True), "begin above 0, got 0.0 to 1.0"),
        (lambda: Choice(()), "got none"),
    ],
)
def test_a_range_of_nothing_is_refused(made: object, told: str) -> None:
    with pytest.raises(InputError, match=told):
        made()  # type: ignore[operator]
