"""``dm.export``, and what ``dmg export`` does before it prints."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from domain_masks.calls.described import read_keywords, with_settings_of
from domain_masks.calls.typed_keywords import ExportKeywords
from domain_masks.errors import DomainMasksError, InputError
from domain_masks.keywords import named_keywords
from domain_masks.records.files import is_there, is_utf8
from domain_masks.records.run_folder import RunFolder, folder_name
from domain_masks.settings.export import ExportSettings

if TYPE_CHECKING:
    import pandas as pd

    from domain_masks.data import Subset
    from domain_masks.deploy import Model
    from domain_masks.deploy.exporting.export import Exported
    from domain_masks.deploy.exporting.parity_images import ParityImages
    from domain_masks.deploy.exporting.pruning_curve import CurvePoint
    from domain_masks.progress import Reporter


@dataclass(frozen=True)
class PruningCurve:
    """The curve over several thresholds, and its files: a table (CSV) and a figure (PNG)."""

    points: list[CurvePoint]
    table: Path
    figure: Path


@with_settings_of(ExportKeywords, ExportSettings)
@named_keywords
def export(
    model: str | os.PathLike[str], *, quiet: bool = False, **settings: Unpack[ExportKeywords]
) -> Exported | pd.DataFrame:
    """Export one ensemble of a model to a file that runs without this package, as ``dmg export`` does.

    - ``model``: a run, its folder, ``model.safetensors``, or a name on the Hub: hf:owner/name
    - ``quiet``: whether nothing is printed

    Returns the exported file, with its comparison with the model (``exported.path``, ``exported.parity``); with several
    thresholds in ``prune`` the table of the curve, which is also written.

    Raises InputError for what cannot be exported, ParityError where the file's outputs do not match the model's.
    """
    from domain_masks.progress import ConsoleReporter  # noqa: PLC0415

    done = exported(read_keywords(ExportSettings, {"model": model, **settings}), ConsoleReporter(quiet))
    if not isinstance(done, PruningCurve):
        return done

    import pandas as pd  # noqa: PLC0415

    return pd.DataFrame(done.points)


def exported(settings: ExportSettings, reporter: Reporter) -> Exported | PruningCurve:
    """Export a model, or measure the curve over several thresholds."""
    from domain_masks.deploy.predicting.locating import locate  # noqa: PLC0415

    folder = locate(settings.model)
    for image in settings.images:
        if not is_there(image):
            raise InputError(f"images: there is no such file {image!r}")

    from domain_masks.deploy import load  # noqa: PLC0415
    from domain_masks.deploy.exporting.formats import check_format  # noqa: PLC0415

    check_format(settings.format, settings.exported.opset)
    model = load(folder, device="cpu")
    model.check_ensemble(settings.exported.ensemble)
    if settings.is_curve:
        return _curve(settings, folder, model, reporter)

    from domain_masks.deploy.exporting.export import export_model  # noqa: PLC0415

    path = settings.out or _beside(settings, folder) / settings.exported.file_name
    if not is_utf8(str(path)):
        raise InputError(
            f"out: expected a name in UTF-8, which the libraries that write the file need, got {str(path)!r}"
        )
    reporter.say(f"exporting {model!r} as {path}")
    images = _images(settings, folder, model, reporter)
    return export_model(model.method, model.card, settings.exported, path, images)


def _beside(settings: ExportSettings, folder: Path) -> Path:
    """Return the default folder of files: the model's, or the working folder for a model from the Hub."""
    return folder if is_there(Path(settings.model).expanduser()) else Path()


def _images(settings: ExportSettings, folder: Path, model: Model, reporter: Reporter) -> ParityImages:
    """Return the images of the parity check: the named files, images of the run's dataset, or generated ones."""
    from domain_masks.deploy.exporting import parity_images  # noqa: PLC0415
    from domain_masks.deploy.run_data import run_data  # noqa: PLC0415

    if settings.images:
        return parity_images.images_of_files(settings.images, model.preprocessing)
    try:
        data = run_data(folder, model.card, settings.changes)
    except DomainMasksError as error:
        if settings.changes:
            raise
        reason = str(error).splitlines()[0]
        reporter.say(f"compared on generated images: {reason}. Name real ones with --root, --dataset or --images")
        data = None
    own = None if data is None else parity_images.images_of_run(data, model.preprocessing)
    return own if own is not None and own.images else parity_images.generated_images(model.preprocessing)


def _curve(settings: ExportSettings, folder: Path, model: Model, reporter: Reporter) -> PruningCurve:
    from domain_masks.deploy.exporting.pruning_curve import pruning_curve, write_curve  # noqa: PLC0415

    measured = _measured(settings, folder, model, reporter)
    thresholds = sorted(set(settings.prune))
    points = pruning_curve(model.method, model.card, settings.exported, thresholds, measured, reporter, settings.limit)
    name = folder_name(settings.exported.ensemble.replace(":", "-"))
    table = settings.out or _beside(settings, folder) / "figures" / f"pruning-{name}.csv"
    figure = table.with_suffix(".png")
    write_curve(points, table, figure)
    return PruningCurve(points, table, figure)


def _measured(settings: ExportSettings, folder: Path, model: Model, reporter: Reporter) -> Mapping[str, Subset]:
    """Return the images on which the curve is measured: held-out ones, and validation ones if they are known to be the run's.

    Raises InputError or RunFolderError where `dmg evaluate` would not measure the run on this dataset.
    """
    from domain_masks.data import readable  # noqa: PLC0415
    from domain_masks.deploy.run_data import run_data  # noqa: PLC0415
    from domain_masks.training.splits_of_run import splits_as_trained  # noqa: PLC0415

    run = RunFolder(folder)
    missing = [file for file in (run.config, run.last) if not file.is_file()]
    if not missing:
        splits = splits_as_trained(run, settings.changes, reporter)
        return {"held_out": splits.held_out, "validation": splits.validation}
    data = run_data(folder, model.card, settings.changes)
    if data is None:
        raise InputError(
            f"{folder} has no config.yaml that names its dataset: expected --dataset, on whose images the curve is measured"
        )
    reporter.say(
        f"note: no accuracy on validation images, since {missing[0]} is missing: without it nothing says which images the "
        "model was trained on. Name the run's own folder to measure it"
    )
    return {"held_out": replace(data, images=readable(data.images, data.config, reporter)).splits.held_out}
