"""Errors of a call, and errors within the function that is called."""

from __future__ import annotations

import pytest

import domain_masks as dm
from domain_masks.errors import DomainMasksError


def test_a_mistake_inside_a_function_is_its_own() -> None:
    @dm.keywords.named_keywords
    def broken(number: int) -> int:
        return number + "x"  # type: ignore[operator,no-any-return]

    with pytest.raises(TypeError) as caught:
        broken(1)
    assert not isinstance(caught.value, DomainMasksError)
