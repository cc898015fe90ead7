"""Run folders as training leaves them, made in milliseconds: what they hold is drawn, and how good they are is said."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from domain_masks.evaluation import accuracies
from domain_masks.records import MetricsLog, Predictions, Results, RunFolder
from domain_masks.records.config import parse_config, read_config

DOMAINS = ("art_painting", "cartoon", "photo", "sketch")
CLASSES = ("dog", "elephant", "giraffe")
SITES = ("layer4.1", "fc")
DMG = {
    "overlap_weight": 0.1,
    "overlap_reduction": "sum",
    "overlap_epsilon": 0.0,
    "sparsity_weight": 0.0,
    "classification_reduction": "mean",
    "initialisation": "uniform",
    "dropout": False,
    "average": "logits",
    "validation": "predictions",
}
PAPER_CONFIG: Mapping[str, Any] = {
    "dataset": "pacs",
    "backbone": "resnet18",
    "weights": "imagenet",
    "size": 224,
    "epochs": 50,
    "lr": 1e-4,
    "augmentation": "pacs",
    "weight_decay": 1e-5,
    "schedule": "exponential",
    "head_initialisation": "default",
}
"""What the paper did with PACS and ResNet-18."""

ODD_DOMAINS = ("_amazon", "网络摄像头", "a|b", "x_y")
"""Names that mean something to HTML, Markdown, LaTeX, CSV and SVG."""
ODD_CONFIG: Mapping[str, Any] = {**PAPER_CONFIG, "dataset": "photos", "backbone": "small"}


def predictions(
    target: str,
    seed: int,
    right: float,
    domains: Sequence[str] = DOMAINS,
    classes: Sequence[str] = CLASSES,
    masks: bool = True,
    count: int = 40,
) -> Predictions:
    """Return predictions of which about the fraction ``right`` is right, a source's own mask a little more often."""
    sources = tuple(name for name in domains if name != target)
    random = np.random.default_rng([seed, domains.index(target), int(1000 * right)])
    names = np.repeat(np.arange(len(domains)), count)
    labels = np.tile(np.arange(count) % len(classes), len(domains))
    splits = np.where(names == domains.index(target), "held_out", "validation")
    ensembles = ["predictions", *(["masks", *(f"known:{source}" for source in sources)] if masks else [])]
    logits = {}
    for ensemble in ensembles:
        own = np.array([f"known:{domains[index]}" == ensemble for index in names])
        is_right = random.random(len(names)) < right + 0.1 * own
        shown = np.where(is_right, labels, (labels + 1) % len(classes))
        logits[ensemble] = 3.0 * np.eye(len(classes), dtype=np.float32)[shown]
    ids = np.array([f"{domains[index]}/{place % count}" for place, index in enumerate(names)])
    return Predictions(ids, labels, names, tuple(domains), splits, logits, tuple(classes), sources)


def make_run(
    path: Path,
    method: str = "dmg",
    target: str = "sketch",
    seed: int = 0,
    right: float = 0.7,
    overlap: float = 0.5,
    *,
    config: Mapping[str, Any] = PAPER_CONFIG,
    settings: Mapping[str, Any] | None = None,
    domains: Sequence[str] = DOMAINS,
    classes: Sequence[str] = CLASSES,
    labels_used: bool = False,
) -> Path:
    """Write a finished run; ``overlap`` is the IoU of its masks."""
    has_masks = method == "dmg"
    made = predictions(target, seed, right, domains, classes, has_masks or method == "multi_headed")
    folder = RunFolder(path)
    path.mkdir(parents=True)
    made.save(folder.predictions)
    pairs = {f"{a}|{b}": overlap for a, b in zip(made.sources, made.sources[1:], strict=False)}
    site = {
        "overall_iou": overlap,
        "pairwise_iou": pairs,
        "activated": dict.fromkeys(made.sources, 0.9),
        "kinds": {"off": 0.05, "shared": 0.75, "specific": 0.2},
    }
    Results(
        dataset=str(config["dataset"]),
        method=method,
        backbone=str(config["backbone"]),
        sources=list(made.sources),
        targets=[target],
        seed=seed,
        epochs_run=3,
        best_epoch=3,
        protocol={"selection": "source-validation", "target_labels_used": labels_used},
        masks=dict.fromkeys(SITES, site) if has_masks else None,
        seconds={"training": 12.5, "prediction": 1.5},
        **accuracies(made, "all"),
    ).write(folder.results)
    own = {**DMG, **(settings or {})} if method == "dmg" else dict(settings or {})
    parse_config({**config, "target": target, "seed": seed, "method": {"name": method, **own}}).write(folder.config)
    folder.environment.write_text(json.dumps({"schema": 1, "argv": ["dmg", "train"], "python": "3.12"}))
    log = MetricsLog(folder.metrics)
    for epoch in range(1, 4):
        row: dict[str, Any] = {
            "epoch": epoch,
            "loss": 1.0 / epoch,
            "validation_accuracy": right - 0.1 / epoch,
        }
        for name in SITES if has_masks else ():
            row |= {f"mask_iou/{name}": 1.1 - 0.1 * epoch}
            row |= {f"mask_kinds/{name}/{kind}": value for kind, value in site["kinds"].items()}
        log.append(row)
    return path


def make_benchmark(
    out: Path, methods: Mapping[str, float] | None = None, seeds: Sequence[int] = (0, 1), **options: Any
) -> Path:
    """Write a run for every method (name -> how often it is right), held-out domain and seed."""
    domains = options.get("domains", DOMAINS)
    for method, right in (methods or {"dmg": 0.8, "aggregate": 0.6, "multi_headed": 0.62}).items():
        for place, target in enumerate(domains):
            for seed in seeds:
                make_run(out / method / f"target-{place}" / f"seed-{seed}", method, target, seed, right, **options)
    return out


def hold_out(path: Path, targets: Sequence[str]) -> Path:
    """Rewrite a run of :func:`make_run` as one that holds out these domains together, or none; its predictions are kept."""
    folder = RunFolder(path)
    made, results = Predictions.load(folder.predictions), Results.read(folder.results)
    held_out = np.isin(made.domains, [made.domain_names.index(name) for name in targets])
    sources = tuple(name for name in made.domain_names if name not in targets)
    known = (
        {f"known:{name}": made.logits["predictions"] for name in sources} if results.known_domain is not None else {}
    )
    logits = {name: values for name, values in made.logits.items() if not name.startswith("known:")} | known
    made = replace(made, sources=sources, splits=np.where(held_out, "held_out", "validation"), logits=logits)
    made.save(folder.predictions)
    measured = {"out_of_domain": None, "in_domain": None, "known_domain": None} | accuracies(made, "all")
    results.model_copy(update={"sources": list(sources), "targets": list(targets), **measured}).write(folder.results)
    parse_config({**read_config(folder.config), "target": list(targets) or "none"}).write(folder.config)
    return path
