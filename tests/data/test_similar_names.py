"""Which names are one."""

from __future__ import annotations

import pytest

from domain_masks.data.similar_names import spellings


@pytest.mark.parametrize(
    ("names", "same"),
    [
        (("dog", '"dog"'), True),
        (("dog", "\u201cDog\u201d "), True),
        (("dog", "d\u200bog"), True),
        (("1", "1.0"), True),
        (("1", "01"), True),
        (("\u00e9", "E\u0301"), True),
        (("-1", "1"), False),
        (("1", "10"), False),
        (("1.5", "15"), True),
        (("+", "-"), False),
    ],
)
def test_which_names_are_one(names, same):
    assert bool(spellings(names)) is same
