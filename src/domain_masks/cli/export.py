"""``dmg export``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domain_masks.cli.flags import Parser, add_config, add_output, completed_by, parser_for, reporter_for, say
from domain_masks.errors import DomainMasksError, InputError, unknown
from domain_masks.records.run_folder import folder_name

if TYPE_CHECKING:
    from domain_masks.data import Preprocessing
    from domain_masks.deploy.export import Exported, ExportSettings
    from domain_masks.deploy.pictures import Pictures
    from domain_masks.methods import Method

FORMATS = ("onnx", "pt2")
_SETTINGS = ("dataset", "root")


def parser() -> Parser:
    """Return the parser of ``dmg export``."""
    parser = parser_for(
        "export",
        "Writes one ensemble of a trained model as a file that runs without this package, runs the file on real pictures, "
        "and keeps it if it answers as the model does. One mask becomes part of the weights; neurons that it hardly uses "
        "can be removed. With several thresholds of --prune nothing is exported: their curve is measured.",
        """
        dmg export runs/sketch
        dmg export runs/sketch --ensemble masks --preprocessing --out sketch.onnx
        dmg export runs/sketch --ensemble known:photo --format pt2 --half
        dmg export runs/sketch --ensemble masks --prune 0.4
        dmg export runs/sketch --ensemble masks --prune 0.3 0.4 0.5 0.6
        """,
    )
    completed_by(
        parser.add_argument("model", metavar="MODEL", help="a run folder, or a folder with a model"), folders=True
    )
    kind = parser.add_argument(
        "--format", metavar="onnx|pt2", default="onnx", help="pt2 is for torch.export.load (default: onnx)"
    )
    completed_by(kind, words=FORMATS)
    parser.add_argument(
        "--ensemble",
        metavar="predictions|masks|known:DOMAIN",
        help="how masks are combined (default: predictions; with --prune: masks)",
    )
    parser.add_argument("--opset", metavar="N", type=int, help="of ONNX, 18 or newer (default: 18)")
    parser.add_argument("--half", action="store_true", help="compute in float16; in and out stays float32")
    parser.add_argument(
        "--preprocessing",
        action="store_true",
        help="resize, crop and normalise in the file, which then takes RGB bytes of any size",
    )
    parser.add_argument(
        "--prune",
        metavar="T",
        nargs="+",
        type=float,
        help="remove neurons whose probability lies below T; several: their curve",
    )
    pictures = parser.add_argument(
        "--pictures", metavar="FILE", nargs="+", help="to compare on, in place of the run's own"
    )
    completed_by(pictures, files=True)
    completed_by(
        parser.add_argument("--dataset", metavar="NAME|DIR", help="the run's dataset, where it has moved"), folders=True
    )
    completed_by(parser.add_argument("--root", metavar="DIR", help="where the run's dataset lies now"), folders=True)
    parser.add_argument(
        "--limit", metavar="N", type=int, help="pictures of each split that the curve is measured on (default: all)"
    )
    out = parser.add_argument(
        "--out", metavar="FILE", help="the file (default: in MODEL, by ensemble); of a curve: its .csv"
    )
    completed_by(out, files=True)
    add_config(parser, "settings in YAML in place of the run's own config.yaml, of which dataset and root are used")
    add_output(parser)
    return parser


def main(arguments: Sequence[str]) -> int:
    """Export a model, or measure the curve of several thresholds."""
    flags = parser().parse(arguments)
    _check(flags)
    folder = _folder(flags.model)
    changes = {name: value for name in _SETTINGS if (value := getattr(flags, name)) is not None}

    from domain_masks.deploy.ensembles import check_ensemble  # noqa: PLC0415
    from domain_masks.deploy.export import ExportSettings, export_model  # noqa: PLC0415
    from domain_masks.deploy.formats import DEFAULT_OPSET, check_format  # noqa: PLC0415
    from domain_masks.methods.base import MASKS, PREDICTIONS  # noqa: PLC0415
    from domain_masks.methods.saving import load_model  # noqa: PLC0415

    check_format(flags.format)
    method, card = load_model(folder)
    settings = ExportSettings(
        format=flags.format,
        ensemble=flags.ensemble or (MASKS if flags.prune else PREDICTIONS),
        opset=flags.opset or DEFAULT_OPSET,
        half=flags.half,
        preprocessing=flags.preprocessing,
        prune=flags.prune[0] if flags.prune and len(flags.prune) == 1 else None,
    )
    check_ensemble(method, settings.ensemble)
    if flags.prune and len(flags.prune) > 1:
        return _curve(flags, folder, method, card, settings, changes)
    pictures = _pictures(flags, folder, card, changes)
    path = Path(flags.out) if flags.out else folder / _file_name(settings)
    reporter_for(flags).say(f"exporting {card['backbone']} ({settings.ensemble}) to {path}")
    for line in _lines(export_model(method, card, settings, path, pictures), flags.verbose):
        say(line)
    return 0


def _check(flags: argparse.Namespace) -> None:
    """Raise InputError for values and combinations that mean nothing."""
    if flags.format not in FORMATS:
        raise unknown("format", flags.format, FORMATS)
    if flags.opset is not None and flags.format != "onnx":
        raise InputError(f"--opset is of ONNX: leave it out with --format {flags.format}")
    if flags.opset is not None and flags.opset < 1:
        raise InputError(f"--opset: expected a number such as 18, got {flags.opset}")
    for threshold in flags.prune or ():
        if not 0 <= threshold <= 1:
            raise InputError(f"--prune: expected probabilities from 0 to 1, got {threshold}")
    is_curve = flags.prune is not None and len(flags.prune) > 1
    if flags.limit is not None and not is_curve:
        raise InputError("--limit is for the curve of several thresholds: leave it out, or give --prune several")
    if flags.limit is not None and flags.limit < 1:
        raise InputError(f"--limit: expected 1 picture or more, got {flags.limit}")
    if is_curve and flags.pictures:
        raise InputError("--pictures have no labels: the curve of several thresholds is measured on the run's dataset")
    if is_curve and flags.out and Path(flags.out).suffix != ".csv":
        raise InputError(f"--out: expected a .csv for the curve of several thresholds, got {flags.out!r}")
    if not is_curve and flags.out and Path(flags.out).suffix != f".{flags.format}":
        raise InputError(f"--out: expected a name that ends in .{flags.format}, got {flags.out!r}")
    if flags.config is not None and not Path(flags.config).is_file():
        raise InputError(f"--config: no such file {flags.config!r}")


def _folder(model: str) -> Path:
    """Return the folder of a model, which may be named by a file in it."""
    path = Path(model)
    return path.parent if path.name in ("model.safetensors", "model.json") and path.is_file() else path


def _file_name(settings: ExportSettings) -> str:
    parts = ["model", folder_name(settings.ensemble.replace(":", "-"))]
    parts += [] if settings.prune is None else [f"pruned-{settings.prune:g}"]
    parts += ["half"] if settings.half else []
    parts += ["bytes"] if settings.preprocessing else []
    return f"{'-'.join(parts)}.{settings.format}"


def _pictures(flags: argparse.Namespace, folder: Path, card: dict[str, Any], changes: dict[str, Any]) -> Pictures:
    """Return what to compare on: the files given, pictures of the run's dataset, or generated ones."""
    from domain_masks.deploy import pictures  # noqa: PLC0415

    preprocessing: Preprocessing = pictures.preprocessing_of(card)
    if flags.pictures:
        return pictures.pictures_of_files(flags.pictures, preprocessing)
    config = None if flags.config is None else Path(flags.config)
    try:
        data = pictures.run_data(folder, card, changes, config)
    except DomainMasksError:
        if changes or config is not None:
            raise
        data = None
    found = None if data is None else pictures.pictures_of_run(data, preprocessing)
    return found if found is not None and found.pictures else pictures.generated_pictures(preprocessing)


def _lines(exported: Exported, verbose: bool) -> list[str]:
    chosen = exported.classifier
    lines = [
        f"{'file':<10} {exported.path} ({exported.path.stat().st_size / 1e6:.2f} MB)",
        f"{'compared':<10} {exported.parity}",
    ]
    for site in chosen.folded:
        if verbose or not site.is_folded:
            lines.append(f"{'mask':<10} {site}")
    if chosen.pruned is not None:
        lines += [f"{'pruned':<10} {site}" for site in chosen.pruned.sites]
        before, after = chosen.pruned.before, chosen.pruned.after
        lines.append(f"{'parameters':<10} {after:,} of {before:,} ({100 * after / before:.1f} %)")
    return lines


def _curve(
    flags: argparse.Namespace,
    folder: Path,
    method: Method,
    card: dict[str, Any],
    settings: ExportSettings,
    changes: dict[str, Any],
) -> int:
    from domain_masks.data import readable  # noqa: PLC0415
    from domain_masks.deploy.curve import curve_lines, pruning_curve, write_curve  # noqa: PLC0415
    from domain_masks.deploy.pictures import RunData, run_data  # noqa: PLC0415

    data: RunData | None = run_data(folder, card, changes, None if flags.config is None else Path(flags.config))
    if data is None:
        raise InputError(
            f"{folder} has no config.yaml that names its dataset: expected --dataset, on whose pictures the curve is measured"
        )
    reporter = reporter_for(flags)
    readable(data.splits.dataset, data.config, reporter)
    points = pruning_curve(method, card, settings, sorted(set(flags.prune)), data, reporter, flags.limit)
    ensemble = folder_name(settings.ensemble.replace(":", "-"))
    table = Path(flags.out) if flags.out else folder / "figures" / f"pruning-{ensemble}.csv"
    write_curve(points, table, table.with_suffix(".png"))
    for line in curve_lines(points):
        say(line)
    say(f"table and figure {table}, {table.with_suffix('.png')}")
    return 0
