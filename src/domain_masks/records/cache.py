"""The cache folder."""

from __future__ import annotations

import os
from pathlib import Path

CACHE_VARIABLE = "DMG_CACHE"


def cache_folder() -> Path:
    """Return the folder of cached features and image verifications: ``$DMG_CACHE``, or one in the user's cache folder."""
    chosen = os.environ.get(CACHE_VARIABLE)
    base = os.environ.get("XDG_CACHE_HOME")
    return Path(chosen) if chosen else (Path(base) if base else Path.home() / ".cache") / "domain-masks"
