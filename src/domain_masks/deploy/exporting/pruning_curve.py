"""Accuracy, parameters, file size and speed of the pruned network as a function of the threshold."""

from __future__ import annotations

import csv
import io
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from domain_masks.data import Preprocessing, Subset, evaluation_batches
from domain_masks.deploy.exporting.classifier import Classifier, classifier
from domain_masks.deploy.exporting.export import describe, write
from domain_masks.deploy.exporting.export_format import ExportFormat
from domain_masks.deploy.predicting.model import preprocessing_of
from domain_masks.deploy.run_data import spread
from domain_masks.evaluation.accuracy import mean_over_domains, top1
from domain_masks.methods import Method
from domain_masks.progress import Reporter
from domain_masks.records.files import write_whole, writing
from domain_masks.records.model_card import ModelCard

BATCH = 32
_TIMED = 16
_ROUNDS = 7


@dataclass(frozen=True)
class CurvePoint:
    """The measurements at one threshold.

    - ``threshold``: None for the folded network before pruning
    - ``removed``: fraction of the masked neurons, over all sites, that were removed after the mask; in [0, 1]
    - ``parameters``: number of parameters
    - ``file_bytes``: file size in the chosen format
    - ``milliseconds``: median time per image in a batch of 16 on this machine
    - ``time_ratio``: median over rounds of the ratio to the first point's time
    - ``validation``, ``held_out``: accuracies in [0, 1], means over domains; None if not measured
    """

    threshold: float | None
    removed: float
    parameters: int
    file_bytes: int
    milliseconds: float
    time_ratio: float
    validation: float | None
    held_out: float | None


def pruning_curve(
    method: Method,
    card: ModelCard,
    settings: ExportFormat,
    thresholds: Sequence[float],
    measured: Mapping[str, Subset],
    reporter: Reporter,
    most: int | None = None,
) -> list[CurvePoint]:
    """Measure the folded network and the networks pruned at each threshold.

    - ``measured``: the images of ``held_out`` and ``validation``, those whose accuracy is measured; the latter chose the
      epoch, and none of them was trained on
    - ``most``: number of images per split, evenly spaced; None for all

    Raises InputError if the ensemble uses more than one mask, or a threshold is not in [0, 1].
    """
    preprocessing = preprocessing_of(card)
    levels: list[float | None] = [None, *thresholds]
    classifiers = [classifier(method, settings.ensemble, level) for level in levels]
    networks = [pruned.network.eval() for pruned in classifiers]
    seconds = _interleaved(networks, torch.zeros(_TIMED, 3, preprocessing.size, preprocessing.size))
    accuracies = {
        name: _accuracies(networks, spread(subset, most), preprocessing, reporter, f"predicting {name}")
        for name, subset in measured.items()
        if len(subset)
    }
    points = []
    for index, (level, pruned) in enumerate(zip(levels, classifiers, strict=True)):
        points.append(
            CurvePoint(
                threshold=level,
                removed=_removed(pruned),
                parameters=sum(parameter.numel() for parameter in pruned.network.parameters()),
                file_bytes=_file_bytes(
                    pruned, preprocessing, replace(settings, threshold=level), describe(method, card, settings)
                ),
                milliseconds=1000 * float(np.median(seconds[index])) / _TIMED,
                time_ratio=float(np.median(np.divide(seconds[index], seconds[0]))),
                validation=accuracies["validation"][index] if "validation" in accuracies else None,
                held_out=accuracies["held_out"][index] if "held_out" in accuracies else None,
            )
        )
    return points


def _removed(pruned: Classifier) -> float:
    if pruned.pruned is None:
        return 0.0
    sites = pruned.pruned.sites
    return sum(site.removed for site in sites) / sum(site.site.size for site in sites)


def _interleaved(networks: Sequence[nn.Module], images: Tensor) -> list[list[float]]:
    """Time all networks in turn, round by round, so that other load on the machine affects them equally."""
    seconds: list[list[float]] = [[] for _ in networks]
    with torch.inference_mode():
        for round_index in range(_ROUNDS + 1):
            for network, times in zip(networks, seconds, strict=True):
                start = time.perf_counter()
                network(images)
                if round_index:  # the first round is a warm-up
                    times.append(time.perf_counter() - start)
    return seconds


def _accuracies(
    networks: Sequence[nn.Module], subset: Subset, preprocessing: Preprocessing, reporter: Reporter, description: str
) -> list[float]:
    """Return the accuracy of every network, averaged over domains; each image is read only once."""
    logits: list[list[Tensor]] = [[] for _ in networks]
    batches = evaluation_batches(subset, preprocessing, BATCH)
    with torch.inference_mode():
        for batch in reporter.track(batches, -(-len(subset) // BATCH), description):
            if batch.images is None:
                raise ValueError("expected batches of images")
            images = preprocessing.normalize(batch.images)
            for network, own in zip(networks, logits, strict=True):
                own.append(network(images))
    domains, labels = subset.domain_indices, subset.labels
    return [
        mean_over_domains(
            {
                subset.dataset.domains[domain]: top1(
                    torch.cat(own).numpy()[domains == domain], labels[domains == domain]
                )
                for domain in np.unique(domains).tolist()
            }
        )
        for own in logits
    ]


def _file_bytes(
    pruned: Classifier, preprocessing: Preprocessing, settings: ExportFormat, description: Mapping[str, Any]
) -> int:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"model.{settings.format}"
        write(pruned, preprocessing, settings, path, description)
        return path.stat().st_size


def curve_lines(points: Sequence[CurvePoint]) -> Iterator[str]:
    """Yield the lines of a table of the curve."""
    yield f"{'threshold':>9}  {'removed':>8}  {'parameters':>11}  {'file':>9}  {'time':>6}  {'held out':>8}  {'validation':>10}"
    for point in points:
        level = "folded" if point.threshold is None else f"{point.threshold:g}"
        accuracies = [
            "-" if accuracy is None else f"{100 * accuracy:.2f} %" for accuracy in (point.held_out, point.validation)
        ]
        yield (
            f"{level:>9}  {100 * point.removed:6.1f} %  {point.parameters:>11,}  {point.file_bytes / 1e6:6.2f} MB  "
            f"{point.time_ratio:6.2f}  {accuracies[0]:>8}  {accuracies[1]:>10}"
        )


def write_curve(points: Sequence[CurvePoint], table: Path, figure: Path) -> None:
    """Write the curve as CSV and PNG; raises RunFolderError if they cannot be written."""
    text = io.StringIO()
    rows = csv.DictWriter(text, [field.name for field in fields(CurvePoint)], lineterminator="\n")
    rows.writeheader()
    rows.writerows({key: "" if value is None else value for key, value in asdict(point).items()} for point in points)
    write_whole(table, text.getvalue())
    _draw(points, figure)


def _draw(points: Sequence[CurvePoint], path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(6.4, 5.6), layout="constrained")
    FigureCanvasAgg(figure)
    upper, lower = figure.subplots(2, 1, sharex=True)
    thresholds = [0.0 if point.threshold is None else point.threshold for point in points]
    for name, label in (("held_out", "held out"), ("validation", "source validation")):
        values = [getattr(point, name) for point in points]
        if None not in values:
            upper.plot(thresholds, [100 * value for value in values], marker="o", label=label)
    upper.set_ylabel("accuracy in %")
    if upper.lines:
        upper.legend()
    for name, label in (("parameters", "parameters"), ("file_bytes", "file size")):
        lower.plot(
            thresholds, [getattr(point, name) / getattr(points[0], name) for point in points], marker="o", label=label
        )
    lower.plot(thresholds, [point.time_ratio for point in points], marker="o", label="time per batch")
    lower.set_ylim(bottom=0)
    lower.set_ylabel("relative to the folded network")
    lower.set_xlabel("threshold of the mask probability (0: unpruned)")
    lower.legend()
    for axes in (upper, lower):
        axes.grid(alpha=0.3)
    with writing(path) as temporary:
        figure.savefig(temporary, dpi=150)
