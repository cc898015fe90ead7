"""Recipes: named sets of settings for a purpose, which count where nothing else is given (``--recipe``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PAPER = "paper"
SHORT = "short"

RECIPES: dict[str, Mapping[str, Any]] = {
    # The paper's settings are the defaults of a run, see paper_defaults: nothing to add.
    PAPER: {},
    # No rate of its own for the masks: masks that differ after ten epochs were not more accurate, see docs/results.
    SHORT: {"average": "ema"},
}
"""Name -> settings of a run, which win over defaults of methods and datasets. Flags and YAML win over them.

A recipe states numbers that were measured: what it was chosen from, and a dataset that took no part, stand in docs/results.
"""
