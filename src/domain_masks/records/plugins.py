"""Code of one's own that runs name as plugins: a file, or a module."""

from __future__ import annotations

import importlib.util
from pathlib import Path


def is_file(plugin: str) -> bool:
    """Whether a plugin is named as a file ``...py``, not as a module."""
    return plugin.endswith(".py")


def plugin_file(plugin: str) -> Path | None:
    """Return the file that a plugin is in; None for a module that there is not, or that has no file.

    The packages around a module are imported, as with any import of it.
    """
    if is_file(plugin):
        return Path(plugin)
    try:
        found = importlib.util.find_spec(plugin)
    except (ImportError, ValueError):
        return None
    return Path(found.origin) if found is not None and found.origin and found.has_location else None
