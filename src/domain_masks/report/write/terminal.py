"""Summary of an analysis as lines of text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from domain_masks.records import Analysis
from domain_masks.records.analysis import AblationRow
from domain_masks.records.ensemble_names import KNOWN_DOMAIN

MOST_CLASSES = 5


def summary_lines(analysis: Analysis, targets: Sequence[str]) -> Iterator[str]:
    """Yield the output of ``dmg analyze``: accuracies in percent, masks, nearest source, ablation, calibration.

    - ``targets``: the held-out domains
    """
    yield from _mask_by_domain(analysis)
    yield from _sites(analysis)
    yield from _nearest(analysis)
    yield from _ablation(analysis, targets)
    errors = "  ".join(f"{domain} {100 * part.ece:.1f}" for domain, part in analysis.calibration.items())
    yield f"{'calibration':<13} expected calibration error %: {errors}"
    for domain in targets or analysis.per_class:
        yield from _classes(analysis, domain)
    for note in analysis.notes:
        yield f"{'note':<13} {note}"


def _mask_by_domain(analysis: Analysis) -> Iterator[str]:
    splits = analysis.mask_by_domain_splits
    names = [
        f"only {name.removeprefix(KNOWN_DOMAIN)}" if KNOWN_DOMAIN in name else name for name in analysis.mask_by_domain
    ]
    left = max([len("accuracy %"), *map(len, names)])
    titles = [
        f"{domain} ({split.replace('_', ' ')})"
        + (f", n = {analysis.calibration[domain].images:,}" if domain in analysis.calibration else "")
        for domain, split in splits.items()
    ]
    yield "  ".join([f"{'accuracy %':<{left}}", *titles])
    for name, (ensemble, row) in zip(names, analysis.mask_by_domain.items(), strict=True):
        cells = []
        for title, domain in zip(titles, splits, strict=True):
            own = "*" if ensemble == KNOWN_DOMAIN + domain else " "
            cells.append(f"{f'{100 * row[domain]:.2f}{own}':>{len(title)}}")
        yield "  ".join([f"{name:<{left}}", *cells])
    if any(KNOWN_DOMAIN + domain in analysis.mask_by_domain for domain in splits):
        yield f"{'':<{left}}  * a source's own mask or head"


def _sites(analysis: Analysis) -> Iterator[str]:
    for name, site in (analysis.sites or {}).items():
        overlap = f"IoU {site.overall_iou:.3f}; " if site.overall_iou is not None else ""
        kinds = ", ".join(f"{kind} {100 * share:.1f}" for kind, share in site.kinds.by_kind().items())
        active = ", ".join(f"{domain} {100 * share:.1f}" for domain, share in site.activated.items())
        average = f"; average {100 * site.average_activated:.1f}" if site.average_activated is not None else ""
        yield f"{'masks':<13} {name} ({site.neurons:,} units): {overlap}% {kinds}; active % {active}{average}"


def _nearest(analysis: Analysis) -> Iterator[str]:
    nearest = analysis.nearest_source
    if nearest is None:
        return
    right = nearest.right
    yield (
        f"{'nearest':<13} by {right.by}, which is correct on {100 * right.accuracy:.1f} % of the sources' own "
        f"{right.split} images"
    )
    for domain, shares in nearest.domains.items():
        accuracy, test = nearest.accuracy[domain], nearest.test[domain]
        parts = "  ".join(f"{source} {100 * share:.0f} %" for source, share in shares.items())
        yield f"{'':<13} {domain}: {parts}"
        yield (
            f"{'':<13} its mask {100 * accuracy['nearest']:.2f} %, the ensemble {100 * accuracy['predictions']:.2f} % "
            f"(McNemar p = {test.p_value:.2g}); best single mask {100 * accuracy['best_single']:.2f} % "
            f"({nearest.best_single[domain]}: an oracle)"
        )


def _ablation(analysis: Analysis, targets: Sequence[str]) -> Iterator[str]:
    ablation = analysis.ablation
    if ablation is None:
        return
    start, *rows = ablation.rows
    place = rows[-1].site if rows else ""
    yield (
        f"{'ablation':<13} on a sample of images: "
        + "  ".join(f"{domain} {count}" for domain, count in ablation.images.items())
        + f"; no units zeroed: {_accuracies(start, targets)}"
    )
    for row in rows:
        if row.site == place and row.fraction == 1:
            kind = row.kind if row.matched is None else f"random, as many as {row.matched}"
            where = "at all sites" if place == "all" else f"at {place}"
            yield f"{'':<13} {row.neurons:,} units zeroed {where} ({kind}): {_accuracies(row, targets)}"


def _accuracies(row: AblationRow, targets: Sequence[str]) -> str:
    held = {domain: value for domain, value in row.accuracy.items() if domain in targets}
    others = [value for domain, value in row.accuracy.items() if domain not in targets]
    parts = [f"{domain} {100 * value:.1f} %" for domain, value in held.items()]
    if others:
        parts.append(f"sources {100 * sum(others) / len(others):.1f} %")
    return ", ".join(parts)


def _classes(analysis: Analysis, domain: str) -> Iterator[str]:
    accuracies = analysis.per_class.get(domain)
    if accuracies is None:
        return
    worst = sorted(accuracies.items(), key=lambda entry: entry[1])[:MOST_CLASSES]
    counts = (analysis.per_class_counts or {}).get(domain, {})
    line = ", ".join(
        f"{name} {100 * value:.1f}" + (f" (n = {counts[name]:,})" if name in counts else "") for name, value in worst
    )
    yield f"{'classes':<13} {domain}, the lowest accuracies %: {line}"
    pairs = analysis.confusion[domain].pairs[:3]
    if pairs:
        errors = ", ".join(f"{pair.label} as {pair.predicted} ({pair.count})" for pair in pairs)
        yield f"{'':<13} most often misclassified: {errors}"
