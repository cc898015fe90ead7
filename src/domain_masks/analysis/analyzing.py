"""Compute the analysis of a finished run and write it into the run's folder."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from domain_masks.analysis.ablating import ablate
from domain_masks.analysis.channels import differing_channels
from domain_masks.analysis.explaining import heat_maps as explain
from domain_masks.analysis.explaining import look_at
from domain_masks.analysis.feature_map import MOST_POINTS, Projection, require_projection
from domain_masks.analysis.from_predictions import calibration, confusion, nearest, without_nearest
from domain_masks.analysis.galleries import galleries, thumbnail_name, thumbnails
from domain_masks.analysis.opened_model import OpenedModel, open_model
from domain_masks.analysis.sampled_images import sample
from domain_masks.analysis.site_analysis import site_analysis
from domain_masks.data import ImageDataset, load_dataset
from domain_masks.devices import choose_device
from domain_masks.errors import DomainMasksError, InputError, RunFolderError
from domain_masks.evaluation import (
    confusion_matrix,
    mask_by_domain,
    per_class_accuracy,
    reporting_splits,
    samples_by_domain,
)
from domain_masks.keywords import named_keywords
from domain_masks.methods.saving import read_masks
from domain_masks.progress import ConsoleReporter, Reporter
from domain_masks.records import Analysis, Predictions, RunFolder
from domain_masks.records.analysis import ImageGallery
from domain_masks.records.collection import RunRecord, read_run
from domain_masks.records.counts import counted
from domain_masks.records.ensemble_names import PREDICTION_ENSEMBLE
from domain_masks.records.explanations import ChannelDifferences
from domain_masks.records.metrics_log import site_epochs
from domain_masks.records.results import DOMAIN_CLASSIFIER
from domain_masks.records.setting_types import bounds_of

IMAGES = 500
HEAT_MAPS = 3
CHANNELS = 6


@named_keywords
def analyze(  # noqa: PLR0913
    path: Path | str,
    *,
    dataset: ImageDataset | None = None,
    changes: Mapping[str, Any] | None = None,
    images: int | None = IMAGES,
    heat_maps: int = HEAT_MAPS,
    channels: int = CHANNELS,
    projection: Projection = "pca",
    with_model: bool = True,
    with_images: bool = True,
    reporter: Reporter | None = None,
) -> Analysis:
    """Compute the analysis of a finished run, and write ``analysis.json`` and thumbnails into its folder.

    :func:`domain_masks.report.draw_analysis` draws figures and writes tables from it.

    - ``dataset``: an opened dataset, instead of the one in the run's settings
    - ``changes``: "dataset", "root" or "device", if they differ from the run's settings
    - ``images``: approximate number of images, sampled from all domains, of the ablation, of the images that excite the
      differing channels (the sources' part) and of the features in two dimensions (1000 at most); None for all
    - ``heat_maps``: number of images per domain with class activation maps; 0 for none
    - ``channels``: number of channels per pair of sources that are shown as differing; 0 for none
    - ``projection``: how features are shown in two dimensions: "pca", "umap" (needs the extra ``umap``), or "none"
    - ``with_model``: False skips what needs the model
    - ``with_images``: False skips what needs the images, the model's part and the thumbnails

    Parts that the method does not have or that cannot be opened are skipped with a note. Raises RunFolderError if the folder
    has no finished run or its predictions cannot be read, InputError for an unavailable dataset or device in ``changes``, an
    unknown projection, or one whose library is missing.
    """
    if images is not None and images < 1:
        raise InputError(f"expected at least one image for the ablation, got {images}")
    for name, count in {"heat_maps": heat_maps, "channels": channels}.items():
        if count < 0:
            raise InputError(f"{name}: expected 0, for none, or more, got {count}")
    require_projection(projection)
    changes = dict(changes or {})
    device = choose_device(changes.get("device", "auto"))
    reporter = reporter or ConsoleReporter()
    record = read_run(RunFolder(path))
    predictions = record.predictions()
    content = _from_records(record, predictions, channels)
    notes: list[str] = content["notes"]
    opened = _open(record, dataset, changes, notes) if with_images else None
    if not with_images:
        notes.append("images were not read: no thumbnails, no ablation, no class activation maps and no features")
    elif not with_model:
        ablated = "no ablation, " if content.get("sites") else ""
        notes.append(f"the model was not read: {ablated}no class activation maps and no features")
    files: dict[str, bytes] = {}
    if opened is not None and with_model:
        try:
            model = open_model(record.folder, device)
        except DomainMasksError as error:
            notes.append(f"no ablation, no class activation maps and no features: {error}")
        else:
            parts = samples_by_domain(predictions)
            _add_ablation(content, record, model, opened, sample(parts, images), reporter)
            some = sample(parts, heat_maps * len(parts))
            files = _add_heat_maps(content, record, model, opened, some, reporter)
            some = sample(parts, min(MOST_POINTS, images or MOST_POINTS))
            _add_features(content, model, opened, some, projection, reporter)
    images_by_id = _with_thumbnails(content, opened, bounds_of(record.config.get("value_range")))
    record.folder.write_thumbnails({thumbnail_name(name): data for name, data in images_by_id.items()} | files)
    # Figures of an earlier analysis are outdated.
    with suppress(RunFolderError):
        record.folder.remove_figures(Analysis.read(record.folder.analysis).figures)
    analysis = Analysis(**content, figures=[])
    analysis.write(record.folder.analysis)
    return analysis


def _add_ablation(
    content: dict[str, Any],
    record: RunRecord,
    model: OpenedModel,
    dataset: ImageDataset,
    sampled: Predictions,
    reporter: Reporter,
) -> None:
    if not content.get("sites"):
        return
    try:
        ablation, notes = ablate(model, dataset, sampled, reporter)
        content["ablation"] = ablation.model_copy(update={"split": _named(ablation.split, record)})
        content["notes"] += notes
    except DomainMasksError as error:
        content["notes"].append(f"no ablation: {error}")


def _add_heat_maps(
    content: dict[str, Any],
    record: RunRecord,
    model: OpenedModel,
    dataset: ImageDataset,
    sampled: Predictions,
    reporter: Reporter,
) -> dict[str, bytes]:
    """Add the class activation maps; returns their files, name -> content."""
    if not len(sampled):
        return {}
    try:
        explained = explain(model, dataset, sampled, reporter, record.results.temperatures)
    except DomainMasksError as error:
        content["notes"].append(f"no class activation maps: {error}")
        return {}
    content["heat_maps"] = explained.maps if explained.maps.images else None
    content["notes"] += explained.notes
    return explained.files


def _add_features(
    content: dict[str, Any],
    model: OpenedModel,
    dataset: ImageDataset,
    sampled: Predictions,
    projection: Projection,
    reporter: Reporter,
) -> None:
    try:
        content["channels"], content["feature_map"] = look_at(
            model, dataset, sampled, content.get("channels"), projection, reporter
        )
    except DomainMasksError as error:
        content["notes"].append(f"no features in two dimensions, and no images that excite channels: {error}")


def _from_records(record: RunRecord, predictions: Predictions, channels: int) -> dict[str, Any]:
    """Return the parts of an analysis that need neither images nor the model's network."""
    parts, sources = samples_by_domain(predictions), list(predictions.sources)
    temperatures = record.results.temperatures
    notes: list[str] = []
    content: dict[str, Any] = {
        "mask_by_domain": mask_by_domain(predictions),
        "mask_by_domain_splits": _named(reporting_splits(predictions), record),
        "calibration": {domain: calibration(part, temperatures) for domain, part in parts.items()},
        "confusion": {domain: confusion(part) for domain, part in parts.items()},
        "per_class": {},
        "per_class_counts": {},
        "notes": notes,
    }
    for domain, part in parts.items():
        matrix = confusion_matrix(part.of(PREDICTION_ENSEMBLE), part.labels)
        content["per_class"][domain] = per_class_accuracy(matrix, part.classes)
        totals = zip(part.classes, matrix.sum(axis=1).tolist(), strict=True)
        content["per_class_counts"][domain] = {name: count for name, count in totals if count}
        without = [name for name in part.classes if name not in content["per_class"][domain]]
        if without:
            listed = ", ".join(without[:5]) + (f", ... ({len(without) - 5} more)" if len(without) > 5 else "")
            notes.append(f"{domain} has no images of {listed} in the evaluated split: no accuracy for that class")
    measured = record.results.nearest_source
    reason = without_nearest(predictions, measured is not None and measured.by == DOMAIN_CLASSIFIER)
    if reason:
        notes.append(f"no nearest source: {reason}")
    else:
        found = nearest(predictions)
        right = found.right.model_copy(update=_named({"split": found.right.split}, record))
        content["nearest_source"] = found.model_copy(update={"right": right})
    if record.results.masks is None:
        notes.append(f"method {record.results.method!r} has no masks: no overlap, no kinds of units, no ablation")
    else:
        try:
            masks = read_masks(record.folder.path)
            content["sites"] = {site: site_analysis(logits, sources) for site, logits in masks.items()}
            if channels and len(sources) > 1:
                content["channels"] = differing_channels(masks, sources, channels)
        except DomainMasksError as error:
            notes.append(f"the masks cannot be read: {error}")
        try:
            content["epochs"] = site_epochs(record.metrics()) or None
        except RunFolderError as error:
            notes.append(f"no statistics over the epochs: {error}")
    held_out = {domain: part for domain, part in parts.items() if domain not in sources}
    content["galleries"] = galleries(held_out or parts, not reason, temperatures) or None
    return content


def _named(splits: Mapping[str, str], record: RunRecord) -> dict[str, str]:
    """Return ``splits``, by domain, with the name that the run's protocol has for test images."""
    test = record.results.protocol.in_domain_test or "test"
    return {domain: test if split == "test" else split for domain, split in splits.items()}


def _open(
    record: RunRecord, dataset: ImageDataset | None, changes: Mapping[str, Any], notes: list[str]
) -> ImageDataset | None:
    """Return the run's dataset, or None with a note if it cannot be opened; raises InputError if ``changes`` name it."""
    if dataset is not None:
        return dataset
    named = {name: changes[name] for name in ("dataset", "root") if changes.get(name) is not None}
    location = {name: record.config.get(name) for name in ("dataset", "root")} | named
    try:
        return load_dataset(str(location["dataset"]), location["root"])
    except DomainMasksError as error:
        if named:
            raise
        notes.append(f"no thumbnails and nothing of the model, since the dataset cannot be opened: {error}")
        return None


def _with_thumbnails(
    content: dict[str, Any], dataset: ImageDataset | None, value_range: tuple[float, float] | None
) -> dict[str, bytes]:
    """Add the paths of thumbnails to galleries and channels; returns id -> thumbnail."""
    galleries: Mapping[str, ImageGallery] = content["galleries"] or {}
    channels: ChannelDifferences | None = content.get("channels")
    ids = list(dict.fromkeys(item.id for gallery in galleries.values() for item in gallery.items))
    ids += [name for name in (channels.shown if channels is not None else ()) if name not in set(ids)]
    if dataset is None or not ids:
        return {}
    images, unreadable = thumbnails(dataset, ids, value_range)
    if unreadable:
        content["notes"].append(
            f"{counted(len(unreadable), 'image')} of the galleries can no longer be read, such as {unreadable[0]!r}"
        )
    paths = {name: f"figures/thumbnails/{thumbnail_name(name)}" for name in images}
    content["galleries"] = {name: gallery.with_thumbnails(paths) for name, gallery in galleries.items()}
    if channels is not None:
        content["channels"] = channels.with_thumbnails(paths)
    return images
