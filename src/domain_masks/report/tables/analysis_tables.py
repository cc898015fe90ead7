"""Tables of one run's analysis: nearest sources, confusion, accuracy by class, every mask on every domain."""

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
    """Return which source the images of each domain are nearest to, and how that source's mask does alone."""
    found = analysis.nearest_source
    if found is None:
        return None
    sources = list(dict.fromkeys(source for shares in found.domains.values() for source in shares))
    measures = [key for key in _ACCURACIES if any(key in row for row in found.accuracy.values())]
    rows = []
    for domain, shares in found.domains.items():
        accuracies, test = found.accuracy.get(domain, {}), found.test.get(domain)
        rows.append(
            [
                text_cell(domain, n_text(found.images.get(domain))),
                *(
                    Cell(f"{100 * share:.1f}", share, heat=share)
                    for share in (shares.get(name, 0.0) for name in sources)
                ),
                *(_nearest_accuracy(measure, accuracies, found.best_single.get(domain, "")) for measure in measures),
                percent(found.agreement.get(domain), 1),
                nothing() if test is None else Cell(p_text(test.p_value), test.p_value),
            ]
        )
    columns = [Column("images of", is_number=False), *(Column(f"{source}, %") for source in sources)]
    columns += [*(Column(_ACCURACIES[measure]) for measure in measures), Column("agree, %"), Column("p")]
    notes = [
        f"The tinted columns: how many of a domain's images are nearest to each source. Nearest: {found.rule}. "
        + _right(found),
        "Then accuracies in percent; agree: the nearest source's mask and the ensemble predict the same class; p: exact "
        "McNemar test between them. The best single mask is chosen by the labels that it is measured on: an oracle.",
    ]
    frame = analysis_frames(analysis)["nearest_source"]
    return Table(f"{name}-nearest", "Which source an image is nearest to", columns, rows, frame, notes)


def confusion_table(analysis: Analysis, domain: str, name: str) -> Table:
    """Return how many images of each class were predicted to be of each, on one domain."""
    found = analysis.confusion[domain]
    # Of some classes alone the rows do not hold all images.
    is_whole = found.of == len(found.classes)
    rows = []
    for label, counts in zip(found.classes, found.counts, strict=True):
        total = sum(counts)
        cells = [
            Cell(str(count), count, heat=count / (total or 1), mark="own" if other == label else "")
            for other, count in zip(found.classes, counts, strict=True)
        ]
        rows.append([text_cell(label, n_text(total) if is_whole else ""), *cells])
    notes = ["Rows: the label; columns: what was predicted, how many images."]
    if not is_whole:
        notes.append(f"The {len(found.classes)} classes with the most errors, of {found.of}.")
    if found.pairs:
        pairs = ", ".join(f"{pair.label} taken for {pair.predicted} ({pair.count})" for pair in found.pairs[:5])
        notes.append(f"Most frequent errors: {pairs}.")
    split = "held out" if analysis.mask_by_domain_splits[domain] == "held_out" else "source"
    every = analysis_frames(analysis)["confusion"]
    frame = every[every["domain"] == domain].reset_index(drop=True)
    columns = [Column("", is_number=False), *(Column(label) for label in found.classes)]
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
    note = "In percent, n: how many images; a dash where a domain has no image of a class."
    frame = analysis_frames(analysis)["per_class"]
    is_folded = len(classes) > MANY_CLASSES
    return Table(f"{name}-classes", "Accuracy by class", columns, rows, frame, [note], folded=is_folded)


def run_mask_by_domain_table(analysis: Analysis, name: str) -> Table:
    """Return Table 4 of one run."""
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
    return mask_by_domain_table(name, "Accuracy in % of every mask, and of their ensembles", frame, held_out)


def _right(found: NearestSource) -> str:
    """Say how often the nearest source is right on the sources' own images, and other rules beside it."""
    right = found.right
    each = ", ".join(f"{name} {100 * value:.1f}" for name, value in right.per_domain.items())
    count = f" (n = {right.count:,})" if right.count is not None else ""
    others = [f"the {rule} on {100 * value:.1f} %" for rule, value in found.rules.items() if rule != right.by]
    sources = {source for shares in found.domains.values() for source in shares}
    return (
        f"It is right on {100 * right.accuracy:.1f} % of the sources' own {right.split} images{count}"
        f"{f': {each}' if each else ''}; chance is {100 / max(1, len(sources)):.1f} %"
        f"{'. For comparison: ' + ', '.join(others) if others else ''}."
    )


def _nearest_accuracy(measure: str, accuracies: Mapping[str, float], best: str) -> Cell:
    value = accuracies.get(measure)
    if value is None or measure != "best_single":
        return percent(value)
    return Cell(f"{100 * value:.2f} oracle", value, f"mask of {best}", mark="oracle")


def _domain_column(analysis: Analysis, domain: str) -> Column:
    """Return the column of a domain, with the split that shows it and how many images that has."""
    split = analysis.mask_by_domain_splits.get(domain, "").replace("_", " ")
    calibration = analysis.calibration.get(domain)
    count = n_text(None if calibration is None else calibration.images)
    return Column(domain, detail=", ".join(part for part in (split, count) if part))
