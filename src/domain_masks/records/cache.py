"""Where things lie that can be computed or fetched again."""

from __future__ import annotations

import os
from pathlib import Path

CACHE_VARIABLE = "DMG_CACHE"


def cache_folder() -> Path:
    """Return where features and what is known of images are kept: ``$DMG_CACHE``, or the user's cache folder."""
    given = os.environ.get(CACHE_VARIABLE)
    base = os.environ.get("XDG_CACHE_HOME")
    return Path(given) if given else (Path(base) if base else Path.home() / ".cache") / "domain-masks"
