"""The results of a run as lines of text."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from domain_masks.cli.standard_output import table_lines
from domain_masks.records.counts import counted
from domain_masks.records.pairs import pair_title
from domain_masks.records.results import MEASURE_TITLES, Results

if TYPE_CHECKING:
    from domain_masks.records import Accuracies
    from domain_masks.records.measured_metrics import FittedTemperature, MeasureMetrics

LEGEND = (
    "out of domain: images of the held-out domains; in domain: held-back images of the source domains; "
    "known domain: the same, each predicted with its own domain's mask"
)


_MOST_DOMAINS = 8
"""Domains that a table has room for beside one another."""


def result_lines(results: Results) -> Iterator[str]:
    """Yield a line per measure, with its split and every domain's accuracy in percent, and those on masks and notes."""
    for title, accuracies in _measured(results):
        yield accuracy_line(title, accuracies)
        yield from _ensemble_line("", accuracies)
    yield from _other_lines(results)


def result_table(results: Results) -> Iterator[str]:
    """Yield the accuracies as one table, then the lines on ensembles, masks and notes; a line per measure for many domains."""
    measured = list(_measured(results))
    domains = dict.fromkeys(domain for _, accuracies in measured for domain in accuracies.per_domain)
    if len(domains) > _MOST_DOMAINS:
        yield from result_lines(results)
        return
    import pandas as pd  # noqa: PLC0415 - not needed for help

    rows = {title: _cells(accuracies, list(domains)) for title, accuracies in measured}
    table = pd.DataFrame.from_dict(rows, orient="index")
    yield "accuracy in % (images)"
    yield from table_lines(table)
    for title, accuracies in measured:
        yield from _ensemble_line(title, accuracies)
    yield from _other_lines(results)


def _measured(results: Results) -> Iterator[tuple[str, Accuracies]]:
    for name, title in MEASURE_TITLES.items():
        if (accuracies := getattr(results, name)) is not None:
            yield title, accuracies


def _cells(accuracies: Accuracies, domains: Sequence[str]) -> dict[str, str]:
    cells = {"mean": f"{100 * accuracies.accuracy:.2f}"}
    for domain in domains:
        value, count = accuracies.per_domain.get(domain), accuracies.count_per_domain.get(domain)
        of = "" if count is None else f" ({count:,})"
        cells[domain] = "" if value is None else f"{100 * value:.2f}{of}"
    return {**cells, "split": accuracies.split}


def _ensemble_line(title: str, accuracies: Accuracies) -> Iterator[str]:
    others = accuracies.by_ensemble
    if len(others) > 1:
        yield f"{title:<13} by ensemble: " + "  ".join(f"{key} {100 * value:.2f}" for key, value in others.items())


def _other_lines(results: Results) -> Iterator[str]:
    for site, masks in (results.masks or {}).items():
        shares = "  ".join(f"{domain} {100 * share:.1f}" for domain, share in masks.activated.items())
        overlap = f"IoU {masks.overall_iou:.3f}, " if masks.overall_iou is not None else ""
        average = f"  average {100 * masks.average_activated:.1f}" if masks.average_activated is not None else ""
        yield f"{'masks':<13} {site}: {overlap}active % {shares}{average}"
    for note in results.notes or ():
        yield f"{'note':<13} {note.text}"


def accuracy_line(title: str, accuracies: Accuracies) -> str:
    """Return the mean over domains, the split and every domain's accuracy, in percent."""
    counts = accuracies.count_per_domain
    domains = "  ".join(
        f"{domain} {100 * value:.2f}" + (f" (n = {counts[domain]:,})" if domain in counts else "")
        for domain, value in accuracies.per_domain.items()
    )
    return f"{title:<13} {100 * accuracies.accuracy:6.2f} %  ({accuracies.split}: {domains})"


def metric_lines(
    metrics: Mapping[str, MeasureMetrics], temperatures: Mapping[str, FittedTemperature], ensemble: str
) -> Iterator[str]:
    """Yield a line per measure with macro F1, top-5, AUROC, calibration error and worst group, and one on the temperature.

    All are means over domains, in percent; a metric that is undefined in a domain is left out.
    """
    for name, title in MEASURE_TITLES.items():
        if (found := metrics.get(name)) is None:
            continue
        shown = {"macro F1": found.macro_f1, "top-5": found.top_5, "AUROC": found.auroc, "ECE": found.calibration_error}
        parts = [f"{label} {100 * value:.2f}" for label, value in shown.items() if value is not None]
        if found.calibrated_error is not None:
            parts.append(f"ECE with temperature {100 * found.calibrated_error:.2f}")
        if (worst := found.worst_group) is not None:
            group = f"{worst.domain}/{worst.class_name}"
            parts.append(f"worst group {group} {100 * worst.accuracy:.2f} (n = {worst.images:,})")
        absent = [f"{domain} {each.of_classes - each.classes}" for domain, each in found.per_domain.items()]
        absent = [text for text in absent if not text.endswith(" 0")]
        without = f"; classes without images, not in F1 and AUROC: {', '.join(absent)}" if absent else ""
        yield f"{title:<13} {'  '.join(parts)}  (n = {found.images:,}{without})"
    if (fitted := temperatures.get(ensemble)) is not None:
        images = counted(fitted.images, "source validation image")
        yield f"{'temperature':<13} {fitted.value:.4g}, fitted on {images}, which also chose the epoch"


def detail_lines(results: Results) -> Iterator[str]:
    """Yield the lines that ``--verbose`` adds: the worst domain, the overlap of every pair of masks, and the times."""
    for name, title in MEASURE_TITLES.items():
        accuracies: Accuracies | None = getattr(results, name)
        if accuracies is not None and accuracies.worst_domain is not None:
            count, balanced = accuracies.count, accuracies.balanced_accuracy
            of = "" if count is None else f", {counted(count, 'image')}"
            over_classes = "" if balanced is None else f", mean over classes {100 * balanced:.2f} %"
            yield f"{title:<13} worst domain {accuracies.worst_domain}{over_classes}{of}"
    if (nearest := results.nearest_source) is not None:
        yield (
            f"{'nearest':<13} {100 * nearest.accuracy:6.2f} %  ({nearest.split}: the sources' own images whose nearest "
            f"source, by the {nearest.by}, is theirs)"
        )
    for site, masks in (results.masks or {}).items():
        known = masks.pairwise_iou
        pairs = "  ".join(f"{pair_title(pair, results.sources)} {iou:.3f}" for pair, iou in known.items())
        if pairs:
            yield f"{'masks':<13} {site}: IoU of pairs {pairs}"
    best = "" if results.best_epoch is None else f", best epoch {results.best_epoch}"
    yield f"{'training':<13} {counted(results.epochs_run, 'epoch')}{best}, " + ", ".join(
        f"{name} {seconds:.1f} s" for name, seconds in results.seconds.items()
    )


def next_lines(results: Results, folder: Path) -> Iterator[str]:
    """Yield the commands that a finished run is used by next."""
    place = shlex.quote(str(folder))
    yield f"next: dmg report {place}  # tables and figures on one page"
    if results.masks:
        yield f"      dmg analyze {place}  # what the masks learned"
    yield f"      dmg predict {place} IMAGES --out predictions.csv"
