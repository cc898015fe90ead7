"""``dm.train`` and ``dm.load``; their dependencies are imported when they are called."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from domain_masks.keywords import named_keywords

if TYPE_CHECKING:
    from domain_masks.deploy import Model
    from domain_masks.training import Run


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
    - ``resume``, ``overwrite``: resume, or replace, the run in the folder; a resumed run keeps its settings
    - ``settings``: ``dataset="pacs"``, ``target="sketch"`` (a name, names joined by commas, or a list), ``method="dmg"`` or
      ``{"name": "dmg", "overlap_weight": 0.1}``, ``epochs=10``, ...; see :class:`domain_masks.records.config.RunConfig`

    Raises InputError that lists every mistake in the settings, RunFolderError for a folder that cannot be used.
    """
    from domain_masks.progress import ConsoleReporter  # noqa: PLC0415
    from domain_masks.records.spellings import take  # noqa: PLC0415
    from domain_masks.settings.command import check_command  # noqa: PLC0415
    from domain_masks.settings.of_a_run import default_folder, to_resume  # noqa: PLC0415
    from domain_masks.settings.train import TrainSettings  # noqa: PLC0415
    from domain_masks.settings.validation import check_settings  # noqa: PLC0415
    from domain_masks.training.telling import told_to_all  # noqa: PLC0415

    out, mistakes = take("out", out, settings)
    options = check_command(TrainSettings, {"out": out, "resume": resume, "overwrite": overwrite})
    values = to_resume(options.out, settings) if resume else settings
    with told_to_all(values):
        config = check_settings(values, mistakes, ("out", "resume", "overwrite", "quiet"))
    folder = options.out or default_folder(config)

    from domain_masks.training.opening import open_run  # noqa: PLC0415

    with told_to_all(values):
        dataset = open_run(config, folder, resume, overwrite)

    from domain_masks.training import run  # noqa: PLC0415

    return run(config, folder, dataset=dataset, resume=resume, overwrite=overwrite, reporter=ConsoleReporter(quiet))


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
