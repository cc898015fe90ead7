"""The numbers that a run ends with: ``results.json``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from pydantic import AliasChoices, ValidationError

from domain_masks.records.counts import counted
from domain_masks.records.json_record import Count, Fraction, JSONRecord, Ordinal, RecordPart, Seconds, Text, Truth
from domain_masks.records.measured_metrics import FittedTemperature, MeasureMetrics
from domain_masks.records.notebook_html import html_block, html_lines, html_table, percent
from domain_masks.records.pairs import pair_of

SCHEMA = 2
"""2: epochs are counted from 1. In 1 ``best_epoch`` was counted from 0, and is read as one more; two empty masks had IoU 0."""

MEASURE_TITLES = {"out_of_domain": "out of domain", "in_domain": "in domain", "known_domain": "known domain"}
"""Measure, as in ``results.json`` and ``predictions.npz`` -> its title, in the order of display."""
OUT_OF_DOMAIN, IN_DOMAIN, WITH_KNOWN_DOMAIN = MEASURE_TITLES
OVERALL = "overall"
"""The name of the mean over held-out domains in tables."""
DOMAIN_CLASSIFIER = "domain classifier"
MOST_CONFIDENT_MASK = "most confident mask"
"""The rules for the nearest source: the second where there is no domain classifier."""
OFFICIAL, VALIDATION_HALF = "official", "validation-half"
"""In-domain test images: the dataset's own test images; or half of its validation images, kept from selection."""
IMAGES = AliasChoices("images", "pictures")
"""The keys of a number of images: the second in files of earlier versions."""


class SelectionProtocol(RecordPart):
    """The data that selected the epoch and the hyper-parameters.

    - ``selection``: a description
    - ``target_labels_used``: whether labels of a held-out domain were used in training or selection
    - ``in_domain_test``: "validation-half" where half of the validation images are the in-domain test images, and the other
      half selects; absent where the dataset's own lists say it
    - ``test_time``: what prediction did beside one pass over each image, and what it looked at, such as an adaptation to the
      unlabelled images; absent for ordinary predictions
    """

    selection: Text
    target_labels_used: Truth
    in_domain_test: Text | None = None
    test_time: Text | None = None


class Accuracies(RecordPart):
    """Accuracies on one split, as fractions in [0, 1] and unweighted means over domains.

    - ``split``: which data: "held_out", "test", "validation", "validation-half" or the name of the held-out domain's list
    - ``accuracy``: of the prediction ensemble (of the own domain's mask or head for ``known_domain``)
    - ``count``: how many samples
    - ``per_domain``: domain -> accuracy; ``count_per_domain``: domain -> how many samples
    - ``by_ensemble``: ensemble -> accuracy
    - ``balanced_accuracy``: mean over classes within a domain, then over domains
    - ``worst_domain``: the name of the domain with the lowest accuracy
    """

    split: Text
    accuracy: Fraction
    count: Count | None = None
    per_domain: dict[str, Fraction]
    count_per_domain: dict[str, Count] = {}
    by_ensemble: dict[str, Fraction] = {}
    balanced_accuracy: Fraction | None = None
    worst_domain: Text | None = None


def accuracies_html(measured: Mapping[str, Accuracies]) -> str:
    """Return accuracies in percent as a table: a row per measure, by its title, with every ensemble and domain."""
    return html_table(
        ["accuracy, %", "split", "mean over domains", "by domain", "by ensemble"],
        (
            [title, part.split, percent(part.accuracy), _listed(part.per_domain), _listed(part.by_ensemble)]
            for title, part in measured.items()
        ),
    )


def _listed(accuracies: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {percent(accuracy)}" for name, accuracy in accuracies.items())


class NearestAccuracy(RecordPart):
    """How often the nearest source of a source's own images is that source, on images that were not trained on.

    - ``by``: the rule that names the nearest source: "domain classifier" or "most confident mask"
    - ``split``: which of the sources' images: "test" ("validation-half") or else "validation"
    - ``accuracy``: the unweighted mean over sources, in [0, 1]; chance is one over their number
    - ``per_domain``: source -> the same of its images; ``count``: how many images there are of all sources. Both are absent
      in files of older versions
    """

    by: Text
    split: Text
    accuracy: Fraction
    per_domain: dict[str, Fraction] = {}
    count: Count | None = None


class ClassifierAccuracy(RecordPart):
    """The accuracy of the domain classifier on the sources' validation images: the mean over sources, in [0, 1]."""

    split: Text
    accuracy: Fraction


class NeuronKinds(RecordPart):
    """Fractions of a site's neurons, by the hard masks of all sources; they add up to 1 (Section 7.1).

    - ``off``: in all masks; ``shared``: on in all; ``specific``: on in some
    """

    off: Fraction
    shared: Fraction
    specific: Fraction

    def by_kind(self) -> dict[str, float]:
        """Return kind -> fraction."""
        return {kind: getattr(self, kind) for kind in NEURON_KINDS}


NEURON_KINDS = tuple(NeuronKinds.model_fields)


class SiteMasks(RecordPart):
    """Statistics of the hard masks of one site, as fractions in [0, 1].

    - ``overall_iou``: the mean of ``pairwise_iou``, which is "first|second" (see
      :func:`~domain_masks.records.pairs.pair_key`) -> IoU, 1 for two empty masks. With one source domain there are no pairs
    - ``activated``: domain -> fraction of its neurons that are on; ``average_activated``: its mean
    - ``average_activated``, ``kinds``: absent in files of older versions
    """

    overall_iou: Fraction | None = None
    pairwise_iou: dict[str, Fraction]
    activated: dict[str, Fraction]
    average_activated: Fraction | None = None
    kinds: NeuronKinds | None = None


class AveragedWeights(RecordPart):
    """The steps that the weights of a model are an average over.

    - ``kind``: "ema", "swa" or "swad"
    - ``updates``: the number of averaged updates; with several optimisers, the largest
    - ``first_step``, ``last_step``: the averaged steps, counted from 1; absent where there were none
    - ``valley``: for swad, whether the valley of the validation loss had "ended", "started" or was "not found"; then the last
      segment between two evaluations is averaged
    - ``batch_norm_images``: training images over which batch-norm statistics were estimated again; 0 without batch norm
    """

    kind: Text
    updates: Count
    first_step: Count | None = None
    last_step: Count | None = None
    valley: Text | None = None
    batch_norm_images: Count

    def in_words(self) -> str:
        """Return a phrase on the steps that the weights are an average over."""
        steps = f", steps {self.first_step:,} to {self.last_step:,}" if self.first_step else ""
        valley = f"; valley of the validation loss {self.valley}" if self.valley else ""
        images = self.batch_norm_images
        statistics = f"; statistics of batch norm of {images:,} training images" if images else ""
        return f"an average ({self.kind}) over {counted(self.updates, 'update')}{steps}{valley}{statistics}"


class Note(RecordPart):
    """A remark on the results, with advice.

    - ``about``: its kind: :data:`MASKS_AT_START`, :data:`LEARNED_IMAGES`, :data:`UNTRAINED_CLASSES`,
      :data:`UNMEASURED_SOURCES`, :data:`LEARNED_NOTHING`, :data:`STATISTICS_KEPT` or :data:`STOPPED_BY_CALLBACK`
    - ``text``: a sentence
    """

    about: Text
    text: Text


MASKS_AT_START = "masks_at_start"
"""All masks are nearly full, as at initialisation: mask logits start in U(0, 1), above 0, and a step changes them by about the
learning rate."""
LEARNED_IMAGES = "learned_images"
"""Images that are measured, or select the epoch, are among those that were trained on."""
UNTRAINED_CLASSES = "untrained_classes"
"""Held-out images are of classes without training images, so they are always misclassified."""
UNMEASURED_SOURCES = "unmeasured_sources"
"""Some sources have no in-domain test images: accuracy in domain is the mean over the other sources."""
LEARNED_NOTHING = "learned_nothing"
"""The accuracy on the sources' validation images is at most that of predicting the same class for all of them."""
STATISTICS_KEPT = "statistics_kept"
"""The setting ``recalibrate_bn`` changed nothing: the upper layers have no batch norm whose statistics all domains share."""
STOPPED_BY_CALLBACK = "stopped_by_callback"
"""Training was stopped by a function of the user's, which no setting of the run describes."""
_NEARLY_ALL = 0.99


def notes_of(masks: Mapping[str, SiteMasks] | None, rate: float | None = None) -> list[Note]:
    """Return the notes on a run's masks.

    - ``masks``: mask site -> :class:`SiteMasks`
    - ``rate``: their learning rate, where it is known
    """
    shares = [share for site in (masks or {}).values() for share in site.activated.values()]
    if not shares or min(shares) <= _NEARLY_ALL:
        return []
    was = "" if rate is None else f"; it was {rate:g}"
    least = "all of them" if min(shares) == 1 else f"at least {100 * min(shares):.1f} %"
    said = (
        f"the masks have hardly left their start, where nearly every neuron is on in every domain (here {least}), so that "
        f"they differ little: raise --lr_masks (such as 0.1{was}), or train longer"
    )
    return [Note(about=MASKS_AT_START, text=said)]


class Results(JSONRecord):
    """The content of ``results.json``; a number that a method does not have is None here and absent there.

    - ``sources``: in the order of the masks' rows; ``targets``: the held-out domains
    - ``epochs_run``: the number of epochs; ``best_epoch``: the epoch, from 1, whose weights were evaluated
    - ``average``: the steps that the weights are an average over; None without averaging
    - ``metrics``: measure -> metrics beside accuracy; absent in files of older versions
    - ``temperatures``: ensemble -> its temperature, in a calibrated model
    - ``nearest_source``: the accuracy of the nearest source, for methods with a mask or head for each of two or more sources;
      ``domain_classifier``: the accuracy of the domain classifier, where there is one
    - ``masks``: mask site -> :class:`SiteMasks`
    - ``notes``: remarks on the results, such as that the masks have hardly left their initialisation
    - ``seconds``: the time of each part of the run
    """

    newest: ClassVar[int] = SCHEMA
    called: ClassVar[str] = "these are no results of a run"
    remedy: ClassVar[str] = "write it again with `dmg evaluate RUN`"

    dataset: Text
    method: Text
    backbone: Text
    sources: list[Text]
    targets: list[Text]
    seed: Count
    epochs_run: Count
    best_epoch: Ordinal | None = None
    average: AveragedWeights | None = None
    protocol: SelectionProtocol
    out_of_domain: Accuracies | None = None
    in_domain: Accuracies | None = None
    known_domain: Accuracies | None = None
    metrics: dict[str, MeasureMetrics] | None = None
    temperatures: dict[str, FittedTemperature] | None = None
    nearest_source: NearestAccuracy | None = None
    domain_classifier: ClassifierAccuracy | None = None
    masks: dict[str, SiteMasks] | None = None
    notes: list[Note] | None = None
    seconds: dict[str, Seconds]

    def __repr__(self) -> str:
        accuracy = "" if self.out_of_domain is None else f": {percent(self.out_of_domain.accuracy)} % out of domain"
        return f"Results({self.title}{accuracy})"

    @property
    def title(self) -> str:
        """The run in words: method, dataset, held-out domains and seed."""
        return f"{self.method} on {self.dataset}, held out {', '.join(self.targets) or 'nothing'}, seed {self.seed}"

    def _repr_html_(self) -> str:
        return html_block(self.title, *self.html_tables())

    def html_tables(self) -> Iterator[str]:
        """Yield the accuracies, the masks and the notes as HTML, for a notebook."""
        measured = {title: part for name, title in MEASURE_TITLES.items() if (part := getattr(self, name)) is not None}
        yield accuracies_html(measured)
        domains = list(dict.fromkeys(name for site in (self.masks or {}).values() for name in site.activated))
        yield html_table(
            ["mask site", "overlap (IoU)", *(f"active in {name}, %" for name in domains)],
            (
                [
                    name,
                    "" if site.overall_iou is None else f"{site.overall_iou:.3f}",
                    *(percent(site.activated.get(domain)) for domain in domains),
                ]
                for name, site in (self.masks or {}).items()
            ),
        )
        yield html_lines(f"note: {note.text}" for note in self.notes or ())

    @classmethod
    def upgraded(cls, content: Mapping[str, Any]) -> dict[str, Any]:
        """Return the content of an older schema as that of the newest."""
        later = dict(content)
        if "best_epoch" in content:
            later["best_epoch"] = one_more(content["best_epoch"])
        if isinstance(masks := content.get("masks"), dict):
            later["masks"] = {name: upgraded_masks(site) for name, site in masks.items()}
            if "notes" not in content and (notes := _notes_of_unchecked(later["masks"])):
                later["notes"] = [note.model_dump() for note in notes]
        measured = content.get("domain_classifier")
        if "nearest_source" not in content and isinstance(measured, Mapping) and {"split", "accuracy"} <= {*measured}:
            later["nearest_source"] = {"by": DOMAIN_CLASSIFIER, **measured}
        return later


def _notes_of_unchecked(masks: Mapping[str, Any]) -> list[Note]:
    """Return the notes on masks that are not validated yet; invalid ones are reported by the validation."""
    try:
        return notes_of({name: SiteMasks.model_validate(site) for name, site in masks.items()})
    except ValidationError:
        return []


def one_more(value: Any) -> Any:
    """Return a whole number counted from 0 as counted from 1; anything else, which validation refuses, unchanged."""
    return value + 1 if type(value) is int else value


def held_out_name(targets: Sequence[str]) -> str:
    """Return held-out domains as one text, joined by commas; empty where none was held out.

    A domain with the name that tables use for the mean over all domains is marked, to tell them apart.
    """
    name = ",".join(targets)
    return f"{name} (domain)" if name == OVERALL else name


def main_targets(counts: Mapping[str, int]) -> list[str]:
    """Return the held-out domains that an overall accuracy is the mean over, in their order.

    Those with the fewest domains held out together, so that single domains are not averaged with pairs; runs that hold out
    nothing only where none holds out any.

    - ``counts``: :func:`held_out_name` -> the number of domains held out together
    """
    fewest = min((count for count in counts.values() if count > 0), default=0)
    return [name for name, count in counts.items() if count == fewest]


def upgraded_masks(site: Any) -> Any:
    """Return a site's masks of an older version with IoU 1 instead of 0 for two empty masks, and their average.

    Its ``overall_iou`` counted each pair of empty masks as 0. Invalid values are left for the validation.
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
