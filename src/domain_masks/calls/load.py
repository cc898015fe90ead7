"""``dm.load``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from domain_masks.keywords import named_keywords

if TYPE_CHECKING:
    from domain_masks.deploy import Model


@named_keywords
def load(source: str | os.PathLike[str], *, device: str = "auto", token: str | None = None) -> Model:
    """Load a trained model: ``dm.load("runs/sketch").predict(["a.jpg"])``.

    - ``source``: a run, its folder, a folder with ``model.safetensors`` and ``model.json``, one of these files, or a name on
      the hub, ``owner/name`` or ``owner/name@revision``
    - ``device``: ``auto``, ``cpu`` or ``cuda``
    - ``token``: for a private model of the hub

    Pickles are refused. Raises InputError and RunFolderError as :func:`domain_masks.deploy.load` does.
    """
    from domain_masks import deploy  # noqa: PLC0415

    return deploy.load(source if isinstance(source, str) else Path(source), device=device, token=token)
