"""``dmg export``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from domain_masks.cli.flags import (
    Parser,
    add_config,
    add_output,
    completed_by,
    own_settings,
    parser_for,
    reporter_for,
    say,
)
from domain_masks.errors import DomainMasksError, InputError
from domain_masks.records.files import is_there, is_utf8
from domain_masks.records.run_folder import folder_name

if TYPE_CHECKING:
    from domain_masks.deploy import Model
    from domain_masks.deploy.exporting.export import Exported
    from domain_masks.deploy.exporting.export_settings import ExportSettings
    from domain_masks.deploy.exporting.parity_images import ParityImages
    from domain_masks.progress import Reporter


def parser() -> Parser:
    """Return the parser of ``dmg export``."""
    parser = parser_for(
        "export",
        "Writes one ensemble of a trained model as a file that runs without this package, runs the file on real images, "
        "and keeps it if it answers as the model does. One mask becomes part of the weights; neurons that it hardly uses "
        "can be removed. With several thresholds of --prune nothing is exported: their curve is measured.",
        """
        dmg export runs/sketch
        dmg export runs/sketch --ensemble masks --preprocessing --out sketch.onnx
        dmg export runs/sketch --ensemble known:photo --format pt2 --half
        dmg export runs/sketch --prune 0.4
        dmg export runs/sketch --prune 0.3 0.4 0.5 0.6 --limit 500
        """,
    )
    model = parser.add_argument(
        "model", metavar="MODEL", nargs="?", help="a run folder, model.safetensors, or a name on the hub: hf:owner/name"
    )
    completed_by(model, folders=True)
    kind = parser.add_argument(
        "--format", metavar="onnx|pt2", help="pt2 is for torch.export.load, in Python and C++ (default: onnx)"
    )
    completed_by(kind, words=("onnx", "pt2"))
    ensemble = parser.add_argument(
        "--ensemble",
        metavar="predictions|masks|weighted|known:DOMAIN",
        help="how masks are combined (default: predictions; with --prune: masks)",
    )
    completed_by(ensemble, words=("weighted",))
    parser.add_argument("--opset", metavar="N", help="of ONNX (default: 18)")
    parser.add_argument(
        "--half", action="store_true", default=None, help="compute in float16; in and out stays float32"
    )
    parser.add_argument(
        "--preprocessing",
        action="store_true",
        default=None,
        help="resize, crop and normalise in the file, which then takes RGB bytes of any height and width",
    )
    parser.add_argument(
        "--prune",
        metavar="T",
        nargs="+",
        help="remove neurons whose probability lies below T, 0 to 1; several: measure their curve",
    )
    images = parser.add_argument(
        "--images", metavar="FILE", nargs="+", help="what the file is compared on, in place of the run's own images"
    )
    completed_by(images, files=True)
    dataset = parser.add_argument("--dataset", metavar="NAME|DIR", help="the run's dataset, where it has moved")
    completed_by(dataset, folders=True)
    completed_by(parser.add_argument("--root", metavar="DIR", help="where the run's dataset lies now"), folders=True)
    parser.add_argument("--limit", metavar="N", help="images of each split that a curve is measured on (default: all)")
    out = parser.add_argument(
        "--out", metavar="FILE", help="the file, or a curve's .csv (default: beside the model, named by its settings)"
    )
    completed_by(out, files=True)
    add_output(parser)
    add_config(parser, "settings in YAML, by the names above (model, ensemble, prune, ...); flags win over it")
    return parser


def main(arguments: Sequence[str]) -> int:
    """Export a model, or measure the curve of several thresholds; 1 if the file answers otherwise than the model."""
    flags, mistakes = parser().parse_and_note(arguments)

    from domain_masks.deploy.exporting.export_settings import check_export  # noqa: PLC0415

    settings = check_export(own_settings(flags), mistakes)

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
    found = _images(settings, folder, model, reporter)
    exported = export_model(model.method, model.card, settings.exported, path, found)
    for line in _lines(exported, flags.verbose):
        say(line)
    return 0


def _beside(settings: ExportSettings, folder: Path) -> Path:
    """Return where files go that are not named: to the model, or here where it came from the hub."""
    return folder if is_there(Path(settings.model).expanduser()) else Path()


def _images(settings: ExportSettings, folder: Path, model: Model, reporter: Reporter) -> ParityImages:
    """Return what to compare on: the files given, images of the run's dataset, or generated ones."""
    from domain_masks.deploy.exporting import parity_images  # noqa: PLC0415

    if settings.images:
        return parity_images.images_of_files(settings.images, model.preprocessing)
    try:
        data = parity_images.run_data(folder, model.card, settings.changes)
    except DomainMasksError as error:
        if settings.changes:
            raise
        reason = str(error).splitlines()[0]
        reporter.say(f"compared on generated images: {reason}. Name real ones with --root, --dataset or --images")
        data = None
    found = None if data is None else parity_images.images_of_run(data, model.preprocessing)
    return found if found is not None and found.images else parity_images.generated_images(model.preprocessing)


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
                    f"{'warning':<11} every neuron of {pruned.site.name} lies below the threshold: nothing of an image "
                    "passes there. Choose a lower one"
                )


def _curve(settings: ExportSettings, folder: Path, model: Model, reporter: Reporter) -> None:
    from domain_masks.data import readable  # noqa: PLC0415
    from domain_masks.deploy.exporting.parity_images import run_data  # noqa: PLC0415
    from domain_masks.deploy.exporting.pruning_curve import curve_lines, pruning_curve, write_curve  # noqa: PLC0415

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
