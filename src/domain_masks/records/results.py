"""The numbers that a run ends with: ``results.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NotRequired, TypedDict

from domain_masks.records.checks import (
    Check,
    counted,
    each,
    fraction,
    keys,
    listed,
    one_more,
    seconds,
    text,
    texts,
    truth,
    whole,
)
from domain_masks.records.counts import counted as number_of
from domain_masks.records.json_record import JSONRecord
from domain_masks.records.pairs import pair_of

SCHEMA = 2
"""2: epochs are counted from 1. In 1 ``best_epoch`` was counted from 0, and is read as one more; two empty masks had IoU 0."""


OVERALL = "overall"
"""How tables call the mean over held-out domains."""
DOMAIN_CLASSIFIER = "domain classifier"
MOST_CONFIDENT_MASK = "most confident mask"
"""What names the nearest source: the second where there is no domain classifier."""


class Protocol(TypedDict):
    """Which data chose the epoch and the hyper-parameters.

    ``selection`` says it in words; ``target_labels_used`` is whether labels of a held-out domain took part in training
    or selection.
    """

    selection: str
    target_labels_used: bool


class Accuracies(TypedDict):
    """Accuracies on one split, as fractions in [0, 1]; but for ``count``, all are unweighted means over domains.

    - ``split``: which data: "held_out", "test", "validation" or the name of the held-out domain's list
    - ``accuracy``: of the prediction ensemble (of the own domain's mask or head for ``known_domain``)
    - ``count``: how many samples
    - ``per_domain``: domain -> accuracy; ``count_per_domain``: domain -> how many samples
    - ``by_ensemble``: ensemble -> accuracy
    - ``balanced_accuracy``: mean over classes within a domain, then over domains
    - ``worst_domain``: the name of the domain with the lowest accuracy
    """

    split: str
    accuracy: float
    count: NotRequired[int]
    per_domain: dict[str, float]
    count_per_domain: NotRequired[dict[str, int]]
    by_ensemble: NotRequired[dict[str, float]]
    balanced_accuracy: NotRequired[float]
    worst_domain: NotRequired[str]


class NearestAccuracy(TypedDict):
    """How often the nearest source of a source's own images is that source, on images that no mask was learned from.

    - ``by``: the rule that names the nearest source: "domain classifier" or "most confident mask"
    - ``split``: which of the sources' images: "test" or else "validation"
    - ``accuracy``: the unweighted mean over sources, in [0, 1]; chance is one over their number
    - ``per_domain``: source -> the same of its images; ``count``: how many images there are of all sources. Both are absent
      where an older version measured
    """

    by: str
    split: str
    accuracy: float
    per_domain: NotRequired[dict[str, float]]
    count: NotRequired[int]


class SiteMasks(TypedDict, total=False):
    """What the hard masks of one site look like, as fractions in [0, 1].

    ``overall_iou`` is the mean of ``pairwise_iou`` ("first|second", see
    :func:`~domain_masks.records.pairs.pair_key` -> IoU, which is 1 for two empty masks);
    ``activated`` is domain -> fraction of its neurons that are on, ``average_activated`` its mean; ``kinds`` are the fractions
    that are ``off`` in all masks, ``shared`` by all, and ``specific`` to some. With one source domain there are no
    pairs, and no IoU.
    """

    overall_iou: float
    pairwise_iou: dict[str, float]
    activated: dict[str, float]
    average_activated: float
    kinds: dict[str, float]


_ACCURACIES = keys(
    {
        "split": text,
        "accuracy": fraction,
        "count": whole,
        "per_domain": each(fraction),
        "count_per_domain": each(whole),
        "by_ensemble": each(fraction),
        "balanced_accuracy": fraction,
        "worst_domain": text,
    },
    optional=("count", "count_per_domain", "by_ensemble", "balanced_accuracy", "worst_domain"),
)


class WeightAverage(TypedDict):
    """What the weights of a model are an average of.

    - ``kind``: "ema", "swa" or "swad"
    - ``updates``: of how many updates of the optimiser; with several optimisers, of the one with the most
    - ``first_step``, ``last_step``: of the training, counted from 1, whose updates these are; absent where there were none
    - ``valley``: of swad, whether the valley of the validation loss had "ended", "started" or was "not found"; then the last
      segment between two looks at it is averaged
    - ``batch_norm_images``: training images over which statistics of batch norm were taken anew; 0 where there is no such layer
    """

    kind: str
    updates: int
    first_step: NotRequired[int]
    last_step: NotRequired[int]
    valley: NotRequired[str]
    batch_norm_images: int


def average_in_words(average: Mapping[str, Any]) -> str:
    """Return in a phrase what weights are an average of; ``average`` is a :class:`WeightAverage`."""
    updates = average.get("updates", 0)
    steps = f", steps {average['first_step']:,} to {average['last_step']:,}" if average.get("first_step") else ""
    valley = f"; valley of the validation loss {average['valley']}" if average.get("valley") else ""
    images = average.get("batch_norm_images", 0)
    anew = f"; statistics of batch norm of {images:,} training images" if images else ""
    return f"an average ({average.get('kind')}) over {number_of(updates, 'update')}{steps}{valley}{anew}"


class Note(TypedDict):
    """Something that whoever reads the numbers should know, and what to do about it.

    - ``about``: which note it is: :data:`MASKS_AT_START` or :data:`UNTRAINED_CLASSES`
    - ``text``: it, in a sentence
    """

    about: str
    text: str


MASKS_AT_START = "masks_at_start"
"""All masks are nearly full, as they begin: from U(0, 1) every mask logit begins above 0, and moves by about the learning
rate."""
UNTRAINED_CLASSES = "untrained_classes"
"""Held-out images are of classes that no training image shows: they can only be answered wrong."""
_NEARLY_ALL = 0.99


def notes_of(masks: Mapping[str, Any] | None, rate: float | None = None) -> list[Note]:
    """Return the notes on a run's masks.

    - ``masks``: mask site -> :class:`SiteMasks`
    - ``rate``: the learning rate that they had, where it is known
    """
    shares = [share for site in (masks or {}).values() for share in site.get("activated", {}).values()]
    if not shares or min(shares) <= _NEARLY_ALL:
        return []
    was = "" if rate is None else f"; it was {rate:g}"
    least = "all of them" if min(shares) == 1 else f"at least {100 * min(shares):.1f} %"
    said = (
        f"the masks have hardly left their start, where nearly every neuron is on in every domain (here {least}), so that "
        f"they differ little: raise --lr_masks (such as 0.1{was}), or train longer"
    )
    return [{"about": MASKS_AT_START, "text": said}]


NEAREST_ACCURACY = keys(
    {"by": text, "split": text, "accuracy": fraction, "per_domain": each(fraction), "count": whole},
    optional=("per_domain", "count"),
)
_SITE = {
    "overall_iou": fraction,
    "pairwise_iou": each(fraction),
    "activated": each(fraction),
    "average_activated": fraction,
    "kinds": each(fraction),
}
WEIGHT_AVERAGE = keys(
    {
        "kind": text,
        "updates": whole,
        "first_step": whole,
        "last_step": whole,
        "valley": text,
        "batch_norm_images": whole,
    },
    optional=("first_step", "last_step", "valley"),
)
_CHECKS: dict[str, Check] = {
    "schema": whole,
    "dataset": text,
    "method": text,
    "backbone": text,
    "sources": texts,
    "targets": texts,
    "seed": whole,
    "epochs_run": whole,
    "best_epoch": counted,
    "average": WEIGHT_AVERAGE,
    "protocol": keys({"selection": text, "target_labels_used": truth}),
    "out_of_domain": _ACCURACIES,
    "in_domain": _ACCURACIES,
    "known_domain": _ACCURACIES,
    "nearest_source": NEAREST_ACCURACY,
    "masks": each(keys(_SITE, optional=tuple(_SITE))),
    "notes": listed(keys({"about": text, "text": text})),
    "seconds": each(seconds),
}


@dataclass(frozen=True, kw_only=True)
class Results(JSONRecord):
    """The content of ``results.json``; what a method does not have is None here and absent there.

    - ``sources``: in the order of the masks' rows; ``targets``: the held-out domains
    - ``epochs_run``: how many; ``best_epoch``: which of them, from 1, gave the weights that were measured
    - ``average``: what the weights are an average of, where they are one
    - ``nearest_source``: how far the nearest source can be trusted, for methods that have a mask or head per source, of
      which there are two or more
    - ``masks``: mask site -> :class:`SiteMasks`
    - ``notes``: what whoever reads the numbers should know, such as that the masks have hardly left their start
    - ``seconds``: what took how long
    - ``more``: further keys, kept as they are

    Raises InputError that lists everything that is not as it should be: a fraction outside [0, 1], a number that is not
    finite, a value of another type.
    """

    newest: ClassVar[int] = SCHEMA
    checks: ClassVar[Mapping[str, Check]] = _CHECKS
    optional: ClassVar[tuple[str, ...]] = (
        "best_epoch",
        "average",
        "out_of_domain",
        "in_domain",
        "known_domain",
        "nearest_source",
        "masks",
        "notes",
    )
    called: ClassVar[str] = "these are no results of a run"
    written_by: ClassVar[str] = "dmg evaluate RUN"

    dataset: str
    method: str
    backbone: str
    sources: list[str]
    targets: list[str]
    seed: int
    epochs_run: int
    protocol: Protocol
    best_epoch: int | None = None
    average: WeightAverage | None = None
    out_of_domain: Accuracies | None = None
    in_domain: Accuracies | None = None
    known_domain: Accuracies | None = None
    nearest_source: NearestAccuracy | None = None
    masks: dict[str, SiteMasks] | None = None
    notes: list[Note] | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    schema: int = SCHEMA
    more: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def upgraded(cls, content: Mapping[str, Any]) -> dict[str, Any]:
        """Return the content of an older schema as that of the newest."""
        best = {"best_epoch": one_more(content["best_epoch"])} if "best_epoch" in content else {}
        masks = content.get("masks")
        sites = (
            {"masks": {name: upgraded_masks(site) for name, site in masks.items()}} if isinstance(masks, dict) else {}
        )
        measured = content.get("domain_classifier")
        nearest = {}
        if isinstance(measured, Mapping) and {"split", "accuracy"} <= measured.keys():
            nearest["nearest_source"] = {"by": DOMAIN_CLASSIFIER, **measured}
        noted: dict[str, Any] = {}
        # What is not as it should be is left for the checks to tell.
        if isinstance(masks, Mapping) and not list(_CHECKS["masks"](masks, "masks")) and (notes := notes_of(masks)):
            noted["notes"] = notes
        return {**nearest, **noted, **content, **best, **sites}


def held_out_name(targets: Sequence[str]) -> str:
    """Return held-out domains as one text, joined by commas; empty where none was held out.

    A domain that is called as tables call the mean over all of them is marked, so that neither stands for the other.
    """
    name = ",".join(targets)
    return f"{name} (domain)" if name == OVERALL else name


def upgraded_masks(site: Any) -> Any:
    """Return what an older version said of a site's masks with 1, not 0, as the IoU of two empty ones, and their average.

    Its ``overall_iou`` counted each pair of empty masks as 0. What is not as expected is left for the checks.
    """
    activated = site.get("activated") if isinstance(site, dict) else None
    if not isinstance(activated, dict) or not all(isinstance(share, int | float) for share in activated.values()):
        return site
    empty = {name for name, share in activated.items() if share == 0}
    pairs = len(activated) * (len(activated) - 1) // 2
    later: dict[str, Any] = {"average_activated": sum(activated.values()) / len(activated)} if activated else {}
    if len(empty) < 2:
        return {**site, **later}
    if isinstance(site.get("overall_iou"), int | float):
        later["overall_iou"] = min(1.0, site["overall_iou"] + len(empty) * (len(empty) - 1) // 2 / pairs)
    if isinstance(site.get("pairwise_iou"), dict):
        among = {pair: 1.0 for pair in site["pairwise_iou"] if empty.issuperset(pair_of(pair, activated))}
        later["pairwise_iou"] = {**site["pairwise_iou"], **among}
    return {**site, **later}
