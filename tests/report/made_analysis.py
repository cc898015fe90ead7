"""An analysis as ``dmg analyze`` writes it, of made predictions and masks, with everything that there can be in one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from PIL import Image

from domain_masks.analysis import site_analysis
from domain_masks.analysis.from_predictions import calibration, confusion, nearest
from domain_masks.analysis.galleries import galleries
from domain_masks.evaluation import (
    confusion_matrix,
    mask_by_domain,
    per_class_accuracy,
    reporting_splits,
    samples_by_domain,
)
from domain_masks.records import Analysis, Predictions
from domain_masks.records.analysis import Ablation, AblationRow, SiteEpoch
from domain_masks.records.ensemble_names import PREDICTION_ENSEMBLE
from domain_masks.records.explanations import (
    ChannelDifferences,
    DifferingChannel,
    ExcitingImage,
    ExplainedImage,
    FeatureMap,
    HeatMap,
    HeatMaps,
    MaskPair,
)
from references.predictions import generated

SITES = ("features.17", "classifier.1")


def made_analysis(predictions: Predictions | None = None, thumbnails: Path | None = None) -> Analysis:
    """Return the analysis of ``predictions``; images of its galleries are written into ``thumbnails`` of a run folder."""
    predictions = generated(per_split=60) if predictions is None else predictions
    parts, sources = samples_by_domain(predictions), predictions.sources
    shown_galleries = galleries({domain: parts[domain] for domain in parts if domain not in sources})
    if thumbnails is not None:
        Image.new("RGB", (30, 20), "green").save(thumbnails / "small.webp")
        paths = dict.fromkeys(predictions.ids.tolist(), "small.webp")
        shown_galleries = {name: gallery.with_thumbnails(paths) for name, gallery in shown_galleries.items()}
    logits = torch.linspace(-3, 3, 20 * len(sources)).reshape(len(sources), 20)
    matrices = {name: confusion_matrix(part.of(PREDICTION_ENSEMBLE), part.labels) for name, part in parts.items()}
    return Analysis(
        mask_by_domain=mask_by_domain(predictions),
        mask_by_domain_splits=reporting_splits(predictions),
        calibration={name: calibration(part) for name, part in parts.items()},
        confusion={name: confusion(part) for name, part in parts.items()},
        per_class={name: per_class_accuracy(matrix, predictions.classes) for name, matrix in matrices.items()},
        sites={site: site_analysis(logits, sources) for site in SITES},
        epochs=[
            SiteEpoch(epoch=epoch, site=site, off=0.2, shared=0.7, specific=0.1, activated={})
            for epoch in (1, 2)
            for site in SITES
        ],
        nearest_source=nearest(predictions),
        ablation=ablation(list(parts), reporting_splits(predictions)),
        galleries=shown_galleries,
        heat_maps=heat_maps(predictions),
        channels=channels(predictions),
        feature_map=FeatureMap(
            method="PCA",
            layer=SITES[0],
            size=4,
            explained=[0.5, 0.25],
            domains=list(parts),
            classes=list(predictions.classes),
            x=[0.5 * place for place in range(12)],
            y=[0.1 * place**2 for place in range(12)],
            domain=[place % len(parts) for place in range(12)],
            label=[place % len(predictions.classes) for place in range(12)],
        ),
        figures=[],
        notes=["what is left out"],
    )


def heat_maps(predictions: Predictions) -> HeatMaps:
    names = ["predictions", *(f"known:{source}" for source in predictions.sources)]
    shown = {name: HeatMap(probability=0.25, thumbnail="small.webp", is_empty=name != "predictions") for name in names}
    label, other = predictions.classes[:2]
    images = [
        ExplainedImage(
            id=f"{domain}/one.png", domain=domain, label=label, predicted=other, thumbnail="small.webp", maps=shown
        )
        for domain in predictions.domain_names
    ]
    return HeatMaps(layer="features.18", grid=[4, 4], images=images)


def channels(predictions: Predictions) -> ChannelDifferences:
    first, second = predictions.sources[:2]
    image = ExcitingImage(
        id="a.png", domain=first, label=predictions.classes[0], activation=1.5, thumbnail="small.webp"
    )
    one = DifferingChannel(
        site=SITES[0], channel=7, on=first, off=second, on_probability=0.9, off_probability=0.2, images=[image, image]
    )
    return ChannelDifferences(
        pairs=[
            MaskPair(first=first, second=second, differing={SITES[0]: 1, SITES[1]: 0}, channels=[one]),
            MaskPair(first=second, second=predictions.sources[-1], differing={}, channels=[]),
        ],
        images={first: 40},
    )


def ablation(domains: list[str], splits: dict[str, str]) -> Ablation:
    def row(site: str, kind: str, fraction: float, neurons: int, accuracy: float, **more: Any) -> AblationRow:
        own = {"accuracy": dict.fromkeys(domains, accuracy), "draws": 1, **more}
        return AblationRow(site=site, kind=kind, fraction=fraction, neurons=neurons, **own)

    rows = [row("all", "none", 0.0, 0, 0.8)]
    for site in (SITES[0], "all"):
        rows.append(row(site, "shared", 0.5, 4, 0.6, deviation=dict.fromkeys(domains, 0.1)))
        rows.append(row(site, "shared", 1.0, 9, 0.3))
        rows.append(row(site, "random", 1.0, 9, 0.5, matched="shared", deviation=dict.fromkeys(domains, 0.1)))
    return Ablation(split=splits, images=dict.fromkeys(domains, 10), rows=rows)
