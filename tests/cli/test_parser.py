"""Flags under their other names."""

from __future__ import annotations

from domain_masks.cli.parser import own_names


def test_words_behind_two_hyphens_and_values_are_left_alone() -> None:
    words = ["--lr=learning_rate", "--", "--learning-rate"]
    assert own_names(words, ["--lr"]) == (words, [])
    assert own_names(["-o", "x", "-0", "-"], ["--out", "-0", "--null"]) == (["--out", "x", "-0", "-"], [])
