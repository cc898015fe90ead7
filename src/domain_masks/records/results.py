"""The numbers that a run ends with: ``results.json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, NotRequired, TypedDict

from domain_masks.records.checks import (
    Check,
    counted,
    each,
    fraction,
    keys,
    one_more,
    seconds,
    text,
    texts,
    truth,
    whole,
)
from domain_masks.records.json_record import JSONRecord

SCHEMA = 2
"""2: epochs are counted from 1. In 1 ``best_epoch`` was counted from 0, and is read as one more; two empty masks had IoU 0."""


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
    - ``per_domain``: domain -> accuracy
    - ``by_ensemble``: ensemble -> accuracy
    - ``balanced_accuracy``: mean over classes within a domain, then over domains
    - ``worst_domain``: the name of the domain with the lowest accuracy
    """

    split: str
    accuracy: float
    count: NotRequired[int]
    per_domain: dict[str, float]
    by_ensemble: NotRequired[dict[str, float]]
    balanced_accuracy: NotRequired[float]
    worst_domain: NotRequired[str]


class SiteMasks(TypedDict, total=False):
    """What the hard masks of one site look like, as fractions in [0, 1].

    ``overall_iou`` is the mean of ``pairwise_iou`` (pair of domains, joined by "|" -> IoU, which is 1 for two empty masks);
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
        "by_ensemble": each(fraction),
        "balanced_accuracy": fraction,
        "worst_domain": text,
    },
    optional=("count", "by_ensemble", "balanced_accuracy", "worst_domain"),
)
_SITE = {
    "overall_iou": fraction,
    "pairwise_iou": each(fraction),
    "activated": each(fraction),
    "average_activated": fraction,
    "kinds": each(fraction),
}
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
    "protocol": keys({"selection": text, "target_labels_used": truth}),
    "out_of_domain": _ACCURACIES,
    "in_domain": _ACCURACIES,
    "known_domain": _ACCURACIES,
    "masks": each(keys(_SITE, optional=tuple(_SITE))),
    "seconds": each(seconds),
}


@dataclass(frozen=True, kw_only=True)
class Results(JSONRecord):
    """The content of ``results.json``; what a method does not have is None here and absent there.

    - ``sources``: in the order of the masks' rows; ``targets``: the held-out domains
    - ``epochs_run``: how many; ``best_epoch``: which of them, from 1, gave the weights that were measured
    - ``masks``: mask site -> :class:`SiteMasks`
    - ``seconds``: what took how long
    - ``more``: further keys, kept as they are

    Raises InputError that lists everything that is not as it should be: a fraction outside [0, 1], a number that is not
    finite, a value of another type.
    """

    newest: ClassVar[int] = SCHEMA
    checks: ClassVar[Mapping[str, Check]] = _CHECKS
    optional: ClassVar[tuple[str, ...]] = ("best_epoch", "out_of_domain", "in_domain", "known_domain", "masks")
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
    out_of_domain: Accuracies | None = None
    in_domain: Accuracies | None = None
    known_domain: Accuracies | None = None
    masks: dict[str, SiteMasks] | None = None
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
        return {**content, **best, **sites}


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
        among = {pair: 1.0 for pair in site["pairwise_iou"] if empty.issuperset(pair.split("|"))}
        later["pairwise_iou"] = {**site["pairwise_iou"], **among}
    return {**site, **later}
