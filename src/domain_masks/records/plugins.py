"""Plugins of a run: files or modules with a user's own code."""

from __future__ import annotations

import importlib.util
from pathlib import Path


def is_file(plugin: str) -> bool:
    """Whether a plugin is a file ``...py`` and not a module."""
    return plugin.endswith(".py")


def plugin_file(plugin: str) -> Path | None:
    """Return the file of a plugin; None for a module that does not exist or has no file.

    The parent packages of a module are imported, as with any import of it.
    """
    if is_file(plugin):
        return Path(plugin)
    try:
        spec = importlib.util.find_spec(plugin)
    except (ImportError, ValueError):
        return None
    return Path(spec.origin) if spec is not None and spec.origin and spec.has_location else None
