"""Domain generalization with domain-specific masks.

``dm.train(...)`` trains one run, ``dm.load(...)`` gives its model to predict with; ``dm.masks``, ``dm.networks`` and
``dm.methods`` are the parts. Submodules are imported when they are first used.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domain_masks.keywords import named_keywords

if TYPE_CHECKING:
    from domain_masks import (
        analysis,
        data,
        deploy,
        evaluation,
        experiments,
        masks,
        methods,
        networks,
        records,
        training,
    )
    from domain_masks.deploy import Model
    from domain_masks.training import Run

__version__ = "0.1.0"

__all__ = [
    "analysis",
    "data",
    "deploy",
    "evaluation",
    "experiments",
    "load",
    "masks",
    "methods",
    "networks",
    "records",
    "train",
    "training",
]

_SUBMODULES = (
    "analysis",
    "data",
    "deploy",
    "evaluation",
    "experiments",
    "masks",
    "methods",
    "networks",
    "records",
    "training",
)


@named_keywords
def train(
    *,
    out: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    quiet: bool = False,
    **settings: Any,
) -> Run:
    """Train one method, measure it, and leave a run folder; the settings are those of ``dmg train``.

    - ``out``: the run folder; by default ``runs/DATASET-TARGET-METHOD-SEED``
    - ``resume``, ``overwrite``: go on with, or replace, what is there; a run that goes on has its own settings
    - ``settings``: ``dataset="pacs"``, ``target="sketch"`` (a name, names joined by commas, or a list), ``method="dmg"`` or
      ``{"name": "dmg", "overlap_weight": 0.1}``, ``epochs=10``, ...; see :class:`domain_masks.records.config.RunConfig`

    Raises InputError that lists every mistake in the settings, RunFolderError for a folder that cannot be used.
    """
    from domain_masks.progress import ConsoleReporter  # noqa: PLC0415
    from domain_masks.records.spellings import take  # noqa: PLC0415
    from domain_masks.settings.mistakes import check_settings  # noqa: PLC0415
    from domain_masks.settings.of_a_run import default_folder, to_resume  # noqa: PLC0415

    out, mistakes = take("out", out, settings)
    given = to_resume(out, settings) if resume else settings
    config = check_settings(given, mistakes, ("out", "resume", "overwrite", "quiet"))
    folder = default_folder(config) if out is None else Path(out)

    from domain_masks.training import run  # noqa: PLC0415

    return run(config, folder, resume=resume, overwrite=overwrite, reporter=ConsoleReporter(quiet))


@named_keywords
def load(source: str | Path, *, device: str = "auto", token: str | None = None) -> Model:
    """Load a trained model: ``dm.load("runs/sketch").predict(["a.jpg"])``.

    - ``source``: a run folder, a folder with ``model.safetensors`` and ``model.json``, one of these files, or a name on the
      hub, ``owner/name`` or ``owner/name@revision``
    - ``device``: ``auto``, ``cpu`` or ``cuda``
    - ``token``: for a private model of the hub

    Pickles are refused. Raises InputError and RunFolderError as :func:`domain_masks.deploy.load` does.
    """
    from domain_masks import deploy  # noqa: PLC0415

    return deploy.load(source, device=device, token=token)


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        return importlib.import_module(f"domain_masks.{name}")
    raise AttributeError(f"module 'domain_masks' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_SUBMODULES])
