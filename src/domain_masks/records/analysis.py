"""What the masks of a run learned, in numbers: ``analysis.json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, NotRequired, TypedDict

from domain_masks.records.checks import (
    Check,
    counted,
    each,
    fraction,
    fraction_or_none,
    keys,
    listed,
    one_more,
    text,
    texts,
    whole,
)
from domain_masks.records.json_record import JSONRecord
from domain_masks.records.results import NEAREST_ACCURACY, NearestAccuracy, upgraded_masks

SCHEMA = 3
"""2: epochs are counted from 1, and the nearest source is the domain classifier's. In 1 epochs were counted from 0, and are
read as one more; the nearest source was the most confident mask's, and is left out."""
_OTHER_NEAREST = (
    "the nearest source is left out: this analysis found it by another rule, the most confident mask. `dmg evaluate RUN` and "
    "then `dmg analyze RUN` write it anew"
)


class Histogram(TypedDict):
    """``edges`` (B + 1), and domain -> ``counts`` (B) between them."""

    edges: list[float]
    counts: dict[str, list[int]]


class SiteAnalysis(TypedDict):
    """The masks of one site: hard masks 1[m > 0.5], but for ``probabilities``, the histogram of m.

    ``neurons`` is K. ``kinds`` are the fractions of neurons that are ``off`` in all masks, ``shared`` by all, ``specific``
    to some. ``pairwise_iou`` is "first|second" -> IoU, 1 for two empty masks, ``overall_iou`` its mean, absent for one domain.
    ``activated`` is domain -> fraction of neurons that are on, ``average_activated`` its mean.
    """

    neurons: int
    kinds: dict[str, float]
    overall_iou: NotRequired[float]
    pairwise_iou: dict[str, float]
    activated: dict[str, float]
    average_activated: NotRequired[float]
    probabilities: Histogram


class SiteEpoch(TypedDict):
    """The same of one site in one epoch, counted from 1; fractions."""

    epoch: int
    site: str
    off: float
    shared: float
    specific: float
    activated: dict[str, float]
    overall_iou: NotRequired[float]


class McNemarTest(TypedDict):
    """Images that only the nearest source's mask, or only the prediction ensemble, has right; exact, two-sided."""

    nearest_only: int
    predictions_only: int
    p_value: float


class NearestSource(TypedDict):
    """Which source each image is nearest to, and how its mask or head alone does there.

    - ``rule``: how the nearest source is chosen, in words
    - ``right``: how often that is right on the sources' own images
    - ``rules``: rule -> the same accuracy by that rule, of all rules that could be measured: what the choice rests on
    - ``domains``: domain -> source -> share of its images, adding up to 1
    - ``images``: domain -> how many images
    - ``agreement``: domain -> share of images that get the same class from the nearest source's mask and the ensemble
    - ``accuracy``: domain -> ``nearest``, ``predictions``, ``weighted`` (if the run has it), ``best_single``: the best mask,
      an oracle that is chosen by the labels that it is measured on
    - ``best_single``: domain -> whose mask that is
    - ``test``: domain -> the paired test of ``nearest`` against ``predictions``
    """

    rule: str
    right: NearestAccuracy
    rules: dict[str, float]
    domains: dict[str, dict[str, float]]
    images: dict[str, int]
    agreement: dict[str, float]
    accuracy: dict[str, dict[str, float]]
    best_single: dict[str, str]
    test: dict[str, McNemarTest]


class AblationRow(TypedDict):
    """Accuracies of the prediction ensemble with some neurons switched off in the masks of all domains.

    - ``site``: where, or "all" for every site at once
    - ``kind``: which neurons: "none" in the first row, "shared", "specific", or "random" ones of any kind as a control
    - ``matched``: for "random", the kind whose number of neurons they equal
    - ``fraction``: of the kind's neurons that is switched off; ``neurons``: how many they are
    - ``draws``: how many random choices ``accuracy`` (domain -> accuracy) is the mean of, and ``deviation`` the sample
      standard deviation, absent for one
    """

    site: str
    kind: str
    matched: NotRequired[str]
    fraction: float
    neurons: int
    draws: int
    accuracy: dict[str, float]
    deviation: NotRequired[dict[str, float]]


class Ablation(TypedDict):
    """How accuracy falls when neurons are switched off; ``split`` domain -> which images, ``images`` how many."""

    split: dict[str, str]
    images: dict[str, int]
    rows: list[AblationRow]


class ReliabilityBins(TypedDict):
    """``edges`` (B + 1), ``counts`` (B), mean ``confidence`` and ``accuracy`` (B), None where a bin is empty."""

    edges: list[float]
    counts: list[int]
    confidence: list[float | None]
    accuracy: list[float | None]


class Calibration(TypedDict):
    """Expected calibration error ``ece`` of the prediction ensemble on ``images`` images, and its bins."""

    ece: float
    images: int
    bins: ReliabilityBins


class Confusion(TypedDict):
    """``counts[i][j]``: images of ``classes[i]`` that were predicted to be ``classes[j]``.

    Of many classes only those with the most errors are here; ``of`` is how many there are. ``pairs`` are the most frequent
    errors among all classes: label, predicted, count.
    """

    classes: list[str]
    counts: list[list[int]]
    of: int
    pairs: list[dict[str, Any]]


class GalleryItem(TypedDict):
    """One image: its id, the label, what the prediction ensemble says and how confident it is.

    ``votes`` is source -> {"class", "probability"}, for a method that has masks or heads. ``thumbnail`` is a path relative
    to the run folder, absent where the image could not be read.
    """

    id: str
    label: str
    predicted: str
    confidence: float
    votes: NotRequired[dict[str, dict[str, Any]]]
    thumbnail: NotRequired[str]


class Gallery(TypedDict):
    """Images of one domain: ``kind`` "nearest" (to ``source``, the nearest first) or "mistakes" (the most confident first)."""

    title: str
    kind: str
    domain: str
    source: NotRequired[str]
    items: list[GalleryItem]


_KINDS = {"off": fraction, "shared": fraction, "specific": fraction}
_HISTOGRAM = keys({"edges": listed(fraction), "counts": each(listed(whole))})
_SITE = keys(
    {
        "neurons": whole,
        "kinds": keys(_KINDS),
        "overall_iou": fraction,
        "pairwise_iou": each(fraction),
        "activated": each(fraction),
        "average_activated": fraction,
        "probabilities": _HISTOGRAM,
    },
    optional=("overall_iou", "average_activated"),
)
_EPOCH = keys(
    {"epoch": counted, "site": text, "overall_iou": fraction, **_KINDS, "activated": each(fraction)}, ("overall_iou",)
)
_NEAREST = keys(
    {
        "rule": text,
        "right": NEAREST_ACCURACY,
        "rules": each(fraction),
        "domains": each(each(fraction)),
        "images": each(whole),
        "agreement": each(fraction),
        "accuracy": each(each(fraction)),
        "best_single": each(text),
        "test": each(keys({"nearest_only": whole, "predictions_only": whole, "p_value": fraction})),
    }
)
_ABLATION_ROW = keys(
    {
        "site": text,
        "kind": text,
        "matched": text,
        "fraction": fraction,
        "neurons": whole,
        "draws": whole,
        "accuracy": each(fraction),
        "deviation": each(fraction),
    },
    optional=("matched", "deviation"),
)
_BINS = {"edges": listed(fraction), "counts": listed(whole)}
_BINS |= {"confidence": listed(fraction_or_none), "accuracy": listed(fraction_or_none)}
_PAIR = keys({"label": text, "predicted": text, "count": whole})
_ITEM = keys(
    {
        "id": text,
        "label": text,
        "predicted": text,
        "confidence": fraction,
        "votes": each(keys({"class": text, "probability": fraction})),
        "thumbnail": text,
    },
    optional=("votes", "thumbnail"),
)
_GALLERY = {"title": text, "kind": text, "domain": text, "source": text, "items": listed(_ITEM)}
_CHECKS: dict[str, Check] = {
    "schema": whole,
    "mask_by_domain": each(each(fraction)),
    "mask_by_domain_splits": each(text),
    "sites": each(_SITE),
    "epochs": listed(_EPOCH),
    "nearest_source": _NEAREST,
    "ablation": keys({"split": each(text), "images": each(whole), "rows": listed(_ABLATION_ROW)}),
    "calibration": each(keys({"ece": fraction, "images": whole, "bins": keys(_BINS)})),
    "confusion": each(keys({"classes": texts, "counts": listed(listed(whole)), "of": whole, "pairs": listed(_PAIR)})),
    "per_class": each(each(fraction)),
    "per_class_counts": each(each(whole)),
    "galleries": each(keys(_GALLERY, optional=("source",))),
    "figures": texts,
    "notes": texts,
}


@dataclass(frozen=True, kw_only=True)
class Analysis(JSONRecord):
    """The content of ``analysis.json``; what a method does not have, or was left out, is None here and absent there.

    Accuracies are fractions in [0, 1], of the domain's images in the split that ``splits`` names.

    - ``mask_by_domain``: ensemble -> domain -> accuracy (Table 4): a row per source's mask or head, and the ensembles
    - ``mask_by_domain_splits``: domain -> "held_out", or a source's "test" or else "validation"
    - ``sites``: mask site -> :class:`SiteAnalysis`
    - ``epochs``: a row per epoch, counted from 1, and site
    - ``calibration``, ``confusion``: domain -> how it is there
    - ``per_class``: domain -> class -> accuracy, and ``per_class_counts`` of how many images; a class without is absent
    - ``galleries``: name -> :class:`Gallery`
    - ``figures``: the names of the files in the run's ``figures/`` that belong to this analysis, drawings and tables
    - ``notes``: what was left out, and why, a sentence each
    - ``more``: further keys, kept as they are

    Raises InputError that lists everything that is not as it should be.
    """

    newest: ClassVar[int] = SCHEMA
    checks: ClassVar[Mapping[str, Check]] = _CHECKS
    optional: ClassVar[tuple[str, ...]] = (
        "sites",
        "epochs",
        "nearest_source",
        "ablation",
        "per_class_counts",
        "galleries",
    )
    called: ClassVar[str] = "this is no analysis of a run"
    written_by: ClassVar[str] = "dmg analyze RUN"

    mask_by_domain: dict[str, dict[str, float]]
    mask_by_domain_splits: dict[str, str]
    calibration: dict[str, Calibration]
    confusion: dict[str, Confusion]
    per_class: dict[str, dict[str, float]]
    per_class_counts: dict[str, dict[str, int]] | None = None
    sites: dict[str, SiteAnalysis] | None = None
    epochs: list[SiteEpoch] | None = None
    nearest_source: NearestSource | None = None
    ablation: Ablation | None = None
    galleries: dict[str, Gallery] | None = None
    figures: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    schema: int = SCHEMA
    more: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def upgraded(cls, content: Mapping[str, Any]) -> dict[str, Any]:
        """Return the content of an older schema as that of the newest."""
        later = _with_images(content)
        if content["schema"] >= 2:
            return later
        if isinstance(sites := content.get("sites"), dict):
            later["sites"] = {name: upgraded_masks(site) for name, site in sites.items()}
        if isinstance(rows := content.get("epochs"), list):
            later["epochs"] = [_upgraded_epoch(row) if isinstance(row, dict) else row for row in rows]
        if later.pop("nearest_source", None) is not None and isinstance(content.get("notes"), list):
            later["notes"] = [*content["notes"], _OTHER_NEAREST]
        shown = content.get("galleries")
        if isinstance(shown, dict):
            kept = {
                name: one for name, one in shown.items() if not isinstance(one, dict) or one.get("kind") != "nearest"
            }
            later |= {"galleries": kept}
        return later


def _with_images(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content with its numbers of images under their name of today; before schema 3 it was ``pictures``."""
    later = dict(content)
    for name in ("nearest_source", "ablation"):
        if isinstance(part := later.get(name), dict):
            later[name] = _renamed(part)
    if isinstance(parts := later.get("calibration"), dict):
        later["calibration"] = {
            name: _renamed(part) if isinstance(part, dict) else part for name, part in parts.items()
        }
    return later


def _renamed(part: Mapping[str, Any]) -> dict[str, Any]:
    return {"images" if name == "pictures" else name: value for name, value in part.items()}


def _upgraded_epoch(row: Mapping[str, Any]) -> dict[str, Any]:
    masks = upgraded_masks(dict(row))
    return {**{name: masks[name] for name in row}, "epoch": one_more(row.get("epoch"))}
