"""``dm.train``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from domain_masks.calls.described import plain, with_settings_of
from domain_masks.calls.typed_keywords import TrainKeywords
from domain_masks.keywords import named_keywords
from domain_masks.records.config import RunConfig, read_settings
from domain_masks.settings.main_module import refuse_imported_main
from domain_masks.settings.of_a_run import over
from domain_masks.settings.train import TrainSettings

if TYPE_CHECKING:
    from domain_masks.calls.trained_run import TrainedRun
    from domain_masks.training.callbacks import Callback, EpochFunction


@with_settings_of(TrainKeywords, RunConfig, TrainSettings)
@named_keywords
def train(
    *,
    config: str | os.PathLike[str] | None = None,
    quiet: bool = False,
    callbacks: Sequence[Callback | EpochFunction] | Callback | EpochFunction = (),
    **settings: Unpack[TrainKeywords],
) -> TrainedRun:
    """Train one method with held-out domains and one seed, measure it, and leave a run folder, as ``dmg train`` does.

    - ``config``: settings in YAML, over which the keywords take precedence
    - ``quiet``: whether nothing is printed
    - ``backbone``: also a module, or a class or function of the number of classes, as
      :func:`domain_masks.networks.register_backbone` takes it; its weights are then its own unless ``weights`` names a file
    - ``callbacks``: functions that are called with every epoch that has ended and stop the training with True, or objects of
      :class:`domain_masks.training.Callback`; they do not change what the run computes

    Settings that are not given have the method's, the dataset's and the paper's defaults, in this order. Returns the run:
    ``run.results``, ``run.model``, ``run.metrics``; in a notebook it is shown as tables and curves.

    Raises InputError that lists every mistake in the settings, RunFolderError for a folder that cannot be used.
    """
    from domain_masks.progress import ConsoleReporter  # noqa: PLC0415
    from domain_masks.records.spellings import take  # noqa: PLC0415
    from domain_masks.settings.benchmark import BENCHMARK_LISTS  # noqa: PLC0415
    from domain_masks.settings.command import check_command  # noqa: PLC0415
    from domain_masks.settings.of_a_run import default_folder, to_resume  # noqa: PLC0415
    from domain_masks.settings.validation import check_settings  # noqa: PLC0415
    from domain_masks.training.telling import told_to_all  # noqa: PLC0415

    refuse_imported_main("dm.train")
    given: dict[str, Any] = _with_named_backbone(plain(settings))
    out, mistakes = take("out", given.pop("out", None), given)
    resume, overwrite = given.pop("resume", False), given.pop("overwrite", False)
    options = check_command(TrainSettings, {"out": out, "resume": resume, "overwrite": overwrite})
    if config is not None:
        values = over(read_settings(Path(config), (*RunConfig.model_fields, *BENCHMARK_LISTS)), given)
    else:
        values = to_resume(options.out, given) if options.resume else given
    with told_to_all(values):
        checked = check_settings(values, mistakes, ("out", "resume", "overwrite", "quiet", "config", "callbacks"))
    folder = options.out or default_folder(checked)

    from domain_masks.training.opening import open_run  # noqa: PLC0415

    with told_to_all(values):
        dataset = open_run(checked, folder, options.resume, options.overwrite)

    from domain_masks.calls.trained_run import TrainedRun  # noqa: PLC0415
    from domain_masks.training import run  # noqa: PLC0415

    finished = run(
        checked,
        folder,
        dataset=dataset,
        resume=options.resume,
        overwrite=options.overwrite,
        reporter=ConsoleReporter(quiet),
        callbacks=callbacks,
    )
    return TrainedRun(finished.folder, finished.results)


def _with_named_backbone(given: dict[str, Any]) -> dict[str, Any]:
    """Register a network that is given itself, and return the settings with its name."""
    from domain_masks.records.spellings import spelled  # noqa: PLC0415

    named = {name: spelled(name, ("backbone",)) for name in given}
    own = [name for name, meant in named.items() if meant == "backbone" and not isinstance(given[name], str | None)]
    if not own:
        return given

    from domain_masks.networks import register_backbone  # noqa: PLC0415

    return {"weights": "none", **given, **{name: register_backbone(given[name]) for name in own}}
