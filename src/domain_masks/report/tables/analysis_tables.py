"""Tables of one run's analysis: nearest source, confusion, accuracy by class, every mask on every domain."""

from __future__ import annotations

from collections.abc import Mapping

from domain_masks.records import Analysis
from domain_masks.records.analysis import NearestSource
from domain_masks.report.tables.analysis_frames import analysis_frames
from domain_masks.report.tables.mask_tables import MASK_BY_DOMAIN, mask_by_domain_table
from domain_masks.report.tables.table import Cell, Column, Table, n_text, nothing, p_text, percent, text_cell, typed

MANY_CLASSES = 15
_ACCURACIES = {
    "nearest": "nearest source's mask",
    "predictions": "ensemble",
    "weighted": "weighted",
    "best_single": "best single mask",
}


def nearest_table(analysis: Analysis, name: str) -> Table | None:
    """Return the nearest sources of each domain's images, and the accuracy of the nearest source's mask alone."""
    nearest = analysis.nearest_source
    if nearest is None:
        return None
    sources = list(dict.fromkeys(source for shares in nearest.domains.values() for source in shares))
    measures = [key for key in _ACCURACIES if any(key in row for row in nearest.accuracy.values())]
    rows = []
    for domain, shares in nearest.domains.items():
        accuracies, test = nearest.accuracy.get(domain, {}), nearest.test.get(domain)
        rows.append(
            [
                text_cell(domain, n_text(nearest.images.get(domain))),
                *(
                    Cell(f"{100 * share:.1f}", share, heat=share)
                    for share in (shares.get(name, 0.0) for name in sources)
                ),
                *(_nearest_accuracy(measure, accuracies, nearest.best_single.get(domain, "")) for measure in measures),
                percent(nearest.agreement.get(domain), 1),
                nothing() if test is None else Cell(p_text(test.p_value), test.p_value),
            ]
        )
    columns = [Column("images of", is_number=False), *(Column(f"{source}, %") for source in sources)]
    columns += [*(Column(_ACCURACIES[measure]) for measure in measures), Column("agree, %"), Column("p")]
    notes = [
        f"Shaded columns: the percentage of a domain's images nearest to each source. Nearest: {nearest.rule}. "
        + _right(nearest),
        "Other columns: accuracies in percent; agree: the nearest source's mask and the ensemble predict the same class; p: "
        "exact McNemar test between them. The best single mask is chosen by the labels that it is evaluated on: an oracle.",
    ]
    frame = analysis_frames(analysis)["nearest_source"]
    return Table(f"{name}-nearest", "Nearest source", columns, rows, frame, notes)


def confusion_table(analysis: Analysis, domain: str, name: str) -> Table:
    """Return the confusion matrix of one domain."""
    confusion = analysis.confusion[domain]
    # With only some of the classes the rows do not contain all images.
    is_whole = confusion.of == len(confusion.classes)
    rows = []
    for label, counts in zip(confusion.classes, confusion.counts, strict=True):
        total = sum(counts)
        cells = [
            Cell(str(count), count, heat=count / (total or 1), mark="own" if other == label else "")
            for other, count in zip(confusion.classes, counts, strict=True)
        ]
        rows.append([text_cell(label, n_text(total) if is_whole else ""), *cells])
    notes = ["Rows: label; columns: predicted class; cells: number of images."]
    if not is_whole:
        notes.append(f"The {len(confusion.classes)} classes with the most errors, of {confusion.of}.")
    if confusion.pairs:
        pairs = ", ".join(f"{pair.label} predicted as {pair.predicted} ({pair.count})" for pair in confusion.pairs[:5])
        notes.append(f"Most frequent errors: {pairs}.")
    split = "held out" if analysis.mask_by_domain_splits[domain] == "held_out" else "source"
    every = analysis_frames(analysis)["confusion"]
    frame = every[every["domain"] == domain].reset_index(drop=True)
    columns = [Column("", is_number=False), *(Column(label) for label in confusion.classes)]
    return Table(name, f"Confusion, {domain} ({split})", columns, rows, frame, notes, is_matrix=True)


def class_table(analysis: Analysis, name: str) -> Table | None:
    """Return the accuracy of each class on each domain; None without classes."""
    domains = list(analysis.per_class)
    classes = list(dict.fromkeys(label for values in analysis.per_class.values() for label in values))
    if not classes:
        return None
    counts = analysis.per_class_counts or {}
    rows = []
    for label in classes:
        cells = []
        for domain in domains:
            value, count = analysis.per_class[domain].get(label), counts.get(domain, {}).get(label)
            cells.append(nothing() if value is None else Cell(f"{100 * value:.1f}", value, n_text(count), heat=value))
        rows.append([text_cell(label), *cells])
    columns = [Column("class", is_number=False), *(_domain_column(analysis, domain) for domain in domains)]
    note = "In percent; n: number of images; a dash if a domain has no images of a class."
    frame = analysis_frames(analysis)["per_class"]
    is_folded = len(classes) > MANY_CLASSES
    return Table(f"{name}-classes", "Accuracy by class", columns, rows, frame, [note], folded=is_folded)


def run_mask_by_domain_table(analysis: Analysis, name: str) -> Table:
    """Return Table 4 for one run."""
    splits = analysis.mask_by_domain_splits
    frame = typed(
        (
            {"mask": mask, "domain": domain, "accuracy": accuracy, "images": analysis.calibration[domain].images}
            for mask, by_domain in analysis.mask_by_domain.items()
            for domain, accuracy in by_domain.items()
        ),
        MASK_BY_DOMAIN,
    )
    held_out = [domain for domain, split in splits.items() if split == "held_out"]
    return mask_by_domain_table(name, "Accuracy in % of every mask and ensemble", frame, held_out)


def _right(nearest: NearestSource) -> str:
    """Return a sentence on the accuracy of the nearest source on the sources' own images, and of the other rules."""
    right = nearest.right
    each = ", ".join(f"{name} {100 * value:.1f}" for name, value in right.per_domain.items())
    count = f" (n = {right.count:,})" if right.count is not None else ""
    others = [f"the {rule} on {100 * value:.1f} %" for rule, value in nearest.rules.items() if rule != right.by]
    sources = {source for shares in nearest.domains.values() for source in shares}
    return (
        f"It is correct on {100 * right.accuracy:.1f} % of the sources' own {right.split} images{count}"
        f"{f': {each}' if each else ''}; chance is {100 / max(1, len(sources)):.1f} %"
        f"{'. For comparison: ' + ', '.join(others) if others else ''}."
    )


def _nearest_accuracy(measure: str, accuracies: Mapping[str, float], best: str) -> Cell:
    value = accuracies.get(measure)
    if value is None or measure != "best_single":
        return percent(value)
    return Cell(f"{100 * value:.2f} oracle", value, f"mask of {best}", mark="oracle")


def _domain_column(analysis: Analysis, domain: str) -> Column:
    """Return the column of a domain, with its split and number of images."""
    split = analysis.mask_by_domain_splits.get(domain, "").replace("_", " ")
    calibration = analysis.calibration.get(domain)
    count = n_text(None if calibration is None else calibration.images)
    return Column(domain, detail=", ".join(part for part in (split, count) if part))
