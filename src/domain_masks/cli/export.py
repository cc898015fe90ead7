"""``dmg export``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from domain_masks.cli.flags import command_parser, read_command, reporter_for
from domain_masks.cli.parser import Parser
from domain_masks.cli.standard_output import say
from domain_masks.errors import DomainMasksError, InputError
from domain_masks.records.files import is_there, is_utf8
from domain_masks.records.run_folder import folder_name
from domain_masks.settings.export import ExportSettings

if TYPE_CHECKING:
    from domain_masks.deploy import Model
    from domain_masks.deploy.exporting.export import Exported
    from domain_masks.deploy.exporting.parity_images import ParityImages
    from domain_masks.progress import Reporter


def parser() -> Parser:
    """Return the parser of ``dmg export``."""
    return command_parser(
        "export",
        "Exports one ensemble of a trained model to a file that runs without this package, runs the file on real images, and "
        "keeps it if its outputs match the model's. A single mask is folded into the weights; channels that it hardly uses can "
        "be pruned. With several thresholds of --prune nothing is exported: the curve over the thresholds is measured.",
        """
        dmg export runs/sketch
        dmg export runs/sketch --ensemble masks --preprocessing --out sketch.onnx
        dmg export runs/sketch --ensemble known:photo --format pt2 --half
        dmg export runs/sketch --prune 0.4
        dmg export runs/sketch --prune 0.3 0.4 0.5 0.6 --limit 500
        """,
        ExportSettings,
    )


def main(arguments: Sequence[str]) -> int:
    """Export a model, or measure the curve over several thresholds; 1 if the file's outputs do not match the model's."""
    flags, settings = read_command(parser(), arguments, ExportSettings)

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
    reporter = reporter_for(flags)
    if settings.is_curve:
        _curve(settings, folder, model, reporter)
        return 0

    from domain_masks.deploy.exporting.export import export_model  # noqa: PLC0415

    path = settings.out or _beside(settings, folder) / settings.exported.file_name
    if not is_utf8(str(path)):
        raise InputError(
            f"out: expected a name in UTF-8, which the libraries that write the file need, got {str(path)!r}"
        )
    reporter.say(f"exporting {model!r} as {path}")
    images = _images(settings, folder, model, reporter)
    exported = export_model(model.method, model.card, settings.exported, path, images)
    for line in _lines(exported, flags.verbose):
        say(line)
    return 0


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


def _lines(exported: Exported, verbose: bool) -> Iterator[str]:
    chosen = exported.classifier
    yield f"{'file':<11} {exported.path} ({exported.path.stat().st_size / 1e6:.2f} MB)"
    of_what = "" if chosen.pruned is None else "with what is left after pruning: "
    yield f"{'compared':<11} {of_what}{exported.parity}"
    for site in chosen.folded:
        if verbose or not site.is_folded:
            yield f"{'mask':<11} {site}"
    if chosen.pruned is not None:
        for pruned in chosen.pruned.sites:
            yield f"{'pruned':<11} {pruned}"
        before, after = chosen.pruned.before, chosen.pruned.after
        yield f"{'parameters':<11} {after:,} of {before:,} ({100 * after / before:.1f} %)"
        yield (
            f"{'changed':<11} pruning gives {exported.changed} of these {exported.parity.images} images another class; "
            "several thresholds after --prune measure accuracy, size and speed of each"
        )
        for pruned in chosen.pruned.sites:
            if pruned.below == pruned.site.size:
                yield (
                    f"{'warning':<11} every channel of {pruned.site.name} lies below the threshold: nothing of an image "
                    "passes there. Choose a lower one"
                )


def _curve(settings: ExportSettings, folder: Path, model: Model, reporter: Reporter) -> None:
    from domain_masks.data import readable  # noqa: PLC0415
    from domain_masks.deploy.exporting.pruning_curve import curve_lines, pruning_curve, write_curve  # noqa: PLC0415
    from domain_masks.deploy.run_data import run_data  # noqa: PLC0415

    data = run_data(folder, model.card, settings.changes)
    if data is None:
        raise InputError(
            f"{folder} has no config.yaml that names its dataset: expected --dataset, on whose images the curve is measured"
        )
    readable(data.splits.dataset, data.config, reporter)
    thresholds = sorted(set(settings.prune))
    points = pruning_curve(model.method, model.card, settings.exported, thresholds, data, reporter, settings.limit)
    name = folder_name(settings.exported.ensemble.replace(":", "-"))
    table = settings.out or _beside(settings, folder) / "figures" / f"pruning-{name}.csv"
    write_curve(points, table, table.with_suffix(".png"))
    for line in curve_lines(points):
        say(line)
    say(f"table and figure: {table}, {table.with_suffix('.png')}")
