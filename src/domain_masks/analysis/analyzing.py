"""Everything that is known about what a run's masks learned, computed, drawn and written into its folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domain_masks.analysis.from_predictions import calibration, confusion, nearest, without_nearest
from domain_masks.analysis.galleries import galleries, thumbnail_name, thumbnails
from domain_masks.analysis.images import ablate, sample
from domain_masks.analysis.sites import site_analysis, site_epochs
from domain_masks.analysis.tables import tables
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
from domain_masks.records.analysis import Gallery
from domain_masks.records.collection import RunRecord, read_run
from domain_masks.records.counts import counted
from domain_masks.records.files import as_bytes
from domain_masks.records.predictions import PREDICTION_ENSEMBLE
from domain_masks.records.results import DOMAIN_CLASSIFIER
from domain_masks.records.run_folder import folder_name
from domain_masks.records.setting_types import bounds_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

IMAGES = 500


@named_keywords
def analyze(
    path: Path | str,
    *,
    dataset: ImageDataset | None = None,
    changes: Mapping[str, Any] | None = None,
    images: int | None = IMAGES,
    with_model: bool = True,
    with_images: bool = True,
    reporter: Reporter | None = None,
) -> Analysis:
    """Compute what the masks of a finished run learned, and write ``analysis.json``, figures and tables into its folder.

    - ``dataset``: an opened dataset in place of the one that the run's settings name
    - ``changes``: "dataset", "root" or "device" where they are no longer what the settings say
    - ``images``: on about how many images neurons are switched off, a sample of all domains; None for all
    - ``with_model``: False leaves out what needs the model: switching off neurons
    - ``with_images``: False leaves out what needs images: that, and the thumbnails of galleries

    What the method does not have, and what cannot be opened, is left out and noted. Raises RunFolderError where the folder
    holds no finished run or its predictions cannot be read, InputError for a dataset or device in ``changes`` that is not
    there.
    """
    if images is not None and images < 1:
        raise InputError(f"expected at least one image to switch neurons off on, got {images}")
    changes = dict(changes or {})
    choose_device(changes.get("device", "auto"))
    reporter = reporter or ConsoleReporter()
    record = read_run(RunFolder(path))
    predictions = record.predictions()
    content = _from_records(record, predictions)
    notes: list[str] = content["notes"]
    opened = _open(record, dataset, changes, notes) if with_images else None
    if not with_images:
        notes.append("no images were looked at: no thumbnails, and no neurons switched off")
    elif not with_model and content.get("sites"):
        notes.append("the model was not looked at: no neurons switched off")
    if opened is not None and with_model and content.get("sites"):
        chosen = sample(samples_by_domain(predictions), images)
        try:
            device = choose_device(changes.get("device", "auto"))
            content["ablation"], more = ablate(record.folder, opened, chosen, device, reporter)
            notes += more
        except DomainMasksError as error:
            notes.append(f"no neurons were switched off: {error}")
    small = _with_thumbnails(content, opened, bounds_of(record.config.get("value_range")))
    return _written(record.folder, content, small)


def _from_records(record: RunRecord, predictions: Predictions) -> dict[str, Any]:
    """Return the parts of an analysis that need neither images nor the model."""
    parts, sources = samples_by_domain(predictions), list(predictions.sources)
    notes: list[str] = []
    content: dict[str, Any] = {
        "mask_by_domain": mask_by_domain(predictions),
        "mask_by_domain_splits": reporting_splits(predictions),
        "calibration": {domain: calibration(part) for domain, part in parts.items()},
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
            notes.append(f"{domain} has no images of {listed} among those shown: no accuracy of that class there")
    measured = record.results.nearest_source
    reason = without_nearest(predictions, measured is not None and measured.by == DOMAIN_CLASSIFIER)
    if reason:
        notes.append(f"no nearest source: {reason}")
    else:
        content["nearest_source"] = nearest(predictions)
    if record.results.masks is None:
        notes.append(
            f"method {record.results.method!r} has no masks: no overlap, no kinds of neurons, none switched off"
        )
    else:
        try:
            masks = read_masks(record.folder.path)
            content["sites"] = {site: site_analysis(logits, sources) for site, logits in masks.items()}
        except DomainMasksError as error:
            notes.append(f"the masks cannot be read: {error}")
        try:
            content["epochs"] = site_epochs(record.metrics()) or None
        except RunFolderError as error:
            notes.append(f"nothing over the epochs: {error}")
    held_out = {domain: part for domain, part in parts.items() if domain not in sources}
    content["galleries"] = galleries(held_out or parts, with_nearest=not reason) or None
    return content


def _open(
    record: RunRecord, dataset: ImageDataset | None, changes: Mapping[str, Any], notes: list[str]
) -> ImageDataset | None:
    """Return the run's dataset, or None with a note where it cannot be opened; raises InputError where it was named."""
    if dataset is not None:
        return dataset
    given = {name: changes[name] for name in ("dataset", "root") if changes.get(name) is not None}
    where = {name: record.config.get(name) for name in ("dataset", "root")} | given
    try:
        return load_dataset(str(where["dataset"]), where["root"])
    except DomainMasksError as error:
        if given:
            raise
        notes.append(f"no thumbnails, and no neurons switched off, since the images are not there: {error}")
        return None


def _with_thumbnails(
    content: dict[str, Any], dataset: ImageDataset | None, value_range: tuple[float, float] | None
) -> dict[str, bytes]:
    """Put the paths of thumbnails into the galleries; returns id -> thumbnail."""
    galleries: Mapping[str, Gallery] = content["galleries"] or {}
    ids = list(dict.fromkeys(item.id for gallery in galleries.values() for item in gallery.items))
    if dataset is None or not ids:
        return {}
    small, lost = thumbnails(dataset, ids, value_range)
    if lost:
        content["notes"].append(
            f"{counted(len(lost), 'image')} of the galleries cannot be read any more, such as {lost[0]!r}"
        )
    paths = {name: f"figures/thumbnails/{thumbnail_name(name)}" for name in small}
    content["galleries"] = {name: gallery.with_thumbnails(paths) for name, gallery in galleries.items()}
    return small


def _written(folder: RunFolder, content: dict[str, Any], small: Mapping[str, bytes]) -> Analysis:
    """Write figures, tables, thumbnails and, last, the numbers."""
    before: list[str] = []
    with suppress(RunFolderError):
        before = Analysis.read(folder.analysis).figures
    folder.write_thumbnails({thumbnail_name(name): data for name, data in small.items()})
    from domain_masks.analysis.fonts import letters_of, missing_note  # noqa: PLC0415 - matplotlib takes a second to import
    from domain_masks.analysis.style import save  # noqa: PLC0415

    names: list[str] = []
    analysis = Analysis(**content, figures=names)
    if note := missing_note(letters_of(analysis.to_dict())):
        analysis.notes.append(note)
    for name, drawn in _figures(analysis, small):
        with folder.figure(name) as temporary:
            save(drawn, temporary)
        names.append(name)
    for name, text in tables(analysis).items():
        with folder.figure(name) as temporary:
            temporary.write_bytes(as_bytes(text))
        names.append(name)
    folder.remove_figures({*before} - {*names})
    analysis = analysis.model_copy(update={"figures": names})
    analysis.write(folder.analysis)
    return analysis


def _figures(analysis: Analysis, small: Mapping[str, bytes]) -> Iterator[tuple[str, Figure]]:
    """Yield file name and figure of everything that can be drawn."""
    # matplotlib takes a second to import.
    from domain_masks.analysis import mask_figures, prediction_figures  # noqa: PLC0415
    from domain_masks.analysis.sheets import sheet  # noqa: PLC0415

    splits = analysis.mask_by_domain_splits
    yield "mask_by_domain.png", prediction_figures.mask_by_domain_figure(analysis.mask_by_domain, splits)
    if analysis.sites:
        yield "overlap.png", mask_figures.overlap_figure(analysis.sites)
        yield "mask_probabilities.png", mask_figures.probabilities_figure(analysis.sites)
    if analysis.epochs:
        yield "kinds_over_epochs.png", mask_figures.kinds_figure(analysis.epochs)
    if analysis.nearest_source:
        yield "nearest_source.png", prediction_figures.nearest_figure(analysis.nearest_source)
    yield "calibration.png", prediction_figures.reliability_figure(analysis.calibration)
    held_out = [domain for domain, split in splits.items() if split == "held_out"]
    for domain in held_out or splits:
        yield (
            f"confusion-{folder_name(domain)}.png",
            prediction_figures.confusion_figure(analysis.confusion[domain], domain),
        )
        if analysis.ablation:
            yield f"ablation-{folder_name(domain)}.png", mask_figures.ablation_figure(analysis.ablation, domain)
        of_domain = [one for one in (analysis.galleries or {}).values() if one.domain == domain]
        for kind in ("nearest", "mistakes"):
            drawn = sheet([one for one in of_domain if one.kind == kind], small)
            if drawn is not None:
                yield f"gallery-{kind}-{folder_name(domain)}.png", drawn
