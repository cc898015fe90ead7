"""The numbers of an analysis as data frames, from which the CSV files are written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from domain_masks.records import Analysis
from domain_masks.records.analysis import Confusion
from domain_masks.records.ensemble_names import KNOWN_DOMAIN
from domain_masks.records.results import NEURON_KINDS

Row = Sequence[Any]


def analysis_frames(analysis: Analysis) -> dict[str, pd.DataFrame]:
    """Return name -> frame of all parts of the analysis; missing numbers are empty texts.

    Column names can repeat, since a domain may have the name of another column.
    """
    return {
        name: pd.DataFrame(rows, columns=list(heads), dtype=object)
        for name, (heads, *rows) in _tables(analysis)
        if rows
    }


def _tables(analysis: Analysis) -> Iterator[tuple[str, list[Row]]]:
    splits = analysis.mask_by_domain_splits
    domains = list(splits)
    table: list[Row] = [["ensemble", *domains]]
    table += [[name, *(row.get(domain, "") for domain in domains)] for name, row in analysis.mask_by_domain.items()]
    yield "mask_by_domain", table
    yield "sites", list(_sites(analysis))
    yield "epochs", list(_epochs(analysis))
    yield "nearest_source", list(_nearest(analysis))
    yield "ablation", list(_ablation(analysis))
    yield (
        "calibration",
        [
            ["domain", "split", "images", "ece", "temperature"],
            *(
                [name, splits[name], part.images, part.ece, "" if part.temperature is None else part.temperature]
                for name, part in analysis.calibration.items()
            ),
        ],
    )
    yield (
        "confusion",
        [
            ["domain", "label", "predicted", "count"],
            *(
                [domain, label, predicted, count]
                for domain, matrix in analysis.confusion.items()
                for label, predicted, count in _confused(matrix)
                if count
            ),
        ],
    )
    yield "channels", list(_channels(analysis))
    yield "features", list(_features(analysis))
    counts = analysis.per_class_counts or {}
    classes = list(dict.fromkeys(name for row in analysis.per_class.values() for name in row))
    yield (
        "per_class",
        [
            ["class", *analysis.per_class, *(f"images/{domain}" for domain in counts)],
            *(
                [
                    name,
                    *(row.get(name, "") for row in analysis.per_class.values()),
                    *(row.get(name, 0) for row in counts.values()),
                ]
                for name in classes
            ),
        ],
    )


def _confused(matrix: Confusion) -> Iterator[tuple[str, str, int]]:
    """Yield label, predicted class and number of images; "" for the classes that are not listed."""
    for label, row in zip(matrix.classes, matrix.counts, strict=True):
        for predicted, count in zip(matrix.classes, row, strict=True):
            yield label, predicted, count
    # Both are empty where all classes are listed.
    for label, count in zip(matrix.classes, matrix.predicted_as_others, strict=False):
        yield label, "", count
    for predicted, count in zip(matrix.classes, matrix.labelled_as_others, strict=False):
        yield "", predicted, count


def _channels(analysis: Analysis) -> Iterator[Row]:
    yield ["first", "second", "site", "channel", "on", "off", "on_probability", "off_probability", "images"]
    for pair in analysis.channels.pairs if analysis.channels else ():
        for one in pair.channels:
            shown = " ".join(image.id for image in one.images)
            names = [pair.first, pair.second, one.site, one.channel, one.on, one.off]
            yield [*names, one.on_probability, one.off_probability, shown]


def _features(analysis: Analysis) -> Iterator[Row]:
    yield ["domain", "class", "x", "y"]
    if (points := analysis.feature_map) is not None:
        for domain, label, x, y in zip(points.domain, points.label, points.x, points.y, strict=True):
            yield [points.domains[domain], points.classes[label], x, y]


def _sites(analysis: Analysis) -> Iterator[Row]:
    yield ["site", "measure", "of", "value"]
    for name, site in (analysis.sites or {}).items():
        yield [name, "neurons", "", site.neurons]
        if site.overall_iou is not None:
            yield [name, "overall_iou", "", site.overall_iou]
        if site.average_activated is not None:
            yield [name, "average_activated", "", site.average_activated]
        measures = {"pairwise_iou": site.pairwise_iou, "activated": site.activated, "kinds": site.kinds.by_kind()}
        for measure, values in measures.items():
            for key, value in values.items():
                yield [name, measure, key, value]


def _epochs(analysis: Analysis) -> Iterator[Row]:
    rows = analysis.epochs or []
    domains = list(dict.fromkeys(domain for row in rows for domain in row.activated))
    yield ["epoch", "site", "overall_iou", *NEURON_KINDS, *(f"activated/{name}" for name in domains)]
    for row in rows:
        activated = [row.activated.get(name, "") for name in domains]
        kinds = row.by_kind().values()
        yield [row.epoch, row.site, row.overall_iou, *kinds, *activated]


def _nearest(analysis: Analysis) -> Iterator[Row]:
    nearest = analysis.nearest_source
    sources = [name.removeprefix(KNOWN_DOMAIN) for name in analysis.mask_by_domain if name.startswith(KNOWN_DOMAIN)]
    kinds = ["nearest", "predictions", "weighted", "best_single"]
    titles = ["accuracy_best_single_oracle" if kind == "best_single" else f"accuracy_{kind}" for kind in kinds]
    shares = [f"share_{source}" for source in sources]
    yield [
        "domain",
        "images",
        *shares,
        "agreement",
        *titles,
        "best_single",
        "nearest_only",
        "predictions_only",
        "p_value",
        "nearest_by",
        "nearest_right_on_sources",
    ]
    if nearest is None:
        return
    for domain, share in nearest.domains.items():
        accuracy, test = nearest.accuracy[domain], nearest.test[domain]
        yield [
            domain,
            nearest.images[domain],
            *(share[source] for source in sources),
            nearest.agreement[domain],
            *(accuracy.get(kind, "") for kind in kinds),
            nearest.best_single[domain],
            test.nearest_only,
            test.predictions_only,
            test.p_value,
            nearest.right.by,
            nearest.right.accuracy,
        ]


def _ablation(analysis: Analysis) -> Iterator[Row]:
    yield ["site", "kind", "matched", "fraction", "neurons", "draws", "domain", "accuracy", "deviation"]
    for row in analysis.ablation.rows if analysis.ablation else ():
        for domain, accuracy in row.accuracy.items():
            start = [row.site, row.kind, row.matched, row.fraction, row.neurons, row.draws]
            yield [*start, domain, accuracy, row.deviation.get(domain, "")]
