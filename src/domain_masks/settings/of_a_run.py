"""The settings of one run from the command line or Python: merged over those of a file, and the default run folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from domain_masks.records.config import RunConfig, read_settings
from domain_masks.records.run_folder import RunFolder, folder_name

DEFAULT_METHOD = "dmg"


def over(values: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with ``overrides`` applied; those of a method are merged one by one, unless another method is given.

    ``method`` is a name, or a mapping of own settings with or without the name.
    """
    below = _as_mapping(values.get("method", DEFAULT_METHOD))
    above = _as_mapping(overrides.get("method", {}))
    method = above
    if isinstance(below, Mapping) and isinstance(above, Mapping):
        is_another = "name" in above and above["name"] != below.get("name")
        method = {**({} if is_another else below), **above}
    return {**values, **overrides, "method": method}


def to_resume(out: Path | None, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of the run in ``out`` with ``overrides`` applied; only the overrides where there is no run."""
    config = None if out is None else RunFolder(out).config
    return over(read_settings(config) if config is not None and config.is_file() else {}, overrides)


def default_folder(settings: RunConfig) -> Path:
    """Return the default run folder: ``runs/DATASET-TARGET-METHOD-SEED``, below the working folder."""
    is_path = not settings.dataset.startswith("hf:")
    # Neither "." nor "photos/.." is a name.
    dataset = Path(os.path.abspath(settings.dataset)).name if is_path else settings.dataset  # noqa: PTH100
    target = "default" if settings.target is None else "+".join(map(folder_name, settings.target)) or "none"
    return Path("runs") / f"{folder_name(dataset)}-{target}-{settings.method_name}-{settings.seed}"


def _as_mapping(method: Any) -> Any:
    return {"name": method} if isinstance(method, str) else method
