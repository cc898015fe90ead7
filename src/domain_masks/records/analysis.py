"""What the masks of a run learned, in numbers: ``analysis.json``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from domain_masks.records.explanations import ChannelDifferences, FeatureMap, HeatMaps
from domain_masks.records.json_record import Count, Fraction, JSONRecord, Ordinal, RecordPart, Text
from domain_masks.records.measured_metrics import Temperature
from domain_masks.records.results import IMAGES, NearestAccuracy, NeuronKinds, SiteMasks, one_more, upgraded_masks

SCHEMA = 3
"""3: numbers of images are called ``images``, before ``pictures``. 2: epochs are counted from 1, and the nearest source is the
domain classifier's. In 1 epochs were counted from 0, and are read as one more; the nearest source was the most confident
mask's, and is left out."""
_OTHER_NEAREST = (
    "the nearest source is left out: this analysis found it by another rule, the most confident mask. `dmg evaluate RUN` and "
    "then `dmg analyze RUN` write it again"
)


class Histogram(RecordPart):
    """``edges`` (B + 1), and domain -> ``counts`` (B) between them."""

    edges: list[Fraction]
    counts: dict[str, list[Count]]


class SiteAnalysis(SiteMasks):
    """The hard masks of one site, K ``neurons``, and the histogram of the ``probabilities`` m that they come from."""

    neurons: Count
    kinds: NeuronKinds
    probabilities: Histogram


class SiteEpoch(NeuronKinds):
    """The hard masks of one site after one epoch, counted from 1; fractions."""

    epoch: Ordinal
    site: Text
    activated: dict[str, Fraction]
    overall_iou: Fraction | None = None


class McNemarTest(RecordPart):
    """Exact two-sided test on the images that only the nearest source's mask, or only the prediction ensemble, classifies."""

    nearest_only: Count
    predictions_only: Count
    p_value: Fraction


class NearestSource(RecordPart):
    """Which source each image is nearest to, and how its mask or head alone does there.

    - ``rule``: how the nearest source is chosen, in words
    - ``right``: its accuracy on the sources' own images
    - ``rules``: rule -> the same accuracy of every rule that could be measured, by which the rule was chosen
    - ``domains``: domain -> source -> share of its images, adding up to 1
    - ``images``: domain -> how many images
    - ``agreement``: domain -> share of images that get the same class from the nearest source's mask and the ensemble
    - ``accuracy``: domain -> ``nearest``, ``predictions``, ``weighted`` (if the run has it), ``best_single``: the best mask,
      an oracle that is chosen by the labels that it is measured on
    - ``best_single``: domain -> the source of that mask
    - ``test``: domain -> the paired test of ``nearest`` against ``predictions``
    """

    rule: Text
    right: NearestAccuracy
    rules: dict[str, Fraction]
    domains: dict[str, dict[str, Fraction]]
    images: dict[str, Count] = Field(validation_alias=IMAGES)
    agreement: dict[str, Fraction]
    accuracy: dict[str, dict[str, Fraction]]
    best_single: dict[str, Text]
    test: dict[str, McNemarTest]


class AblationRow(RecordPart):
    """Accuracies of the prediction ensemble with some units zeroed in the masks of all domains.

    - ``site``: the mask site, or "all" for every site at once
    - ``kind``: which units: "none" in the first row, "shared", "specific", or "random" ones of any kind as a control
    - ``matched``: for "random", the kind whose number of units they equal
    - ``fraction``: of the kind's units that is zeroed; ``neurons``: how many they are
    - ``draws``: the number of random draws that ``accuracy`` (domain -> accuracy) is averaged over; ``deviation``: their
      sample standard deviation, absent for one draw
    """

    site: Text
    kind: Text
    matched: Text | None = None
    fraction: Fraction
    neurons: Count
    draws: Count
    accuracy: dict[str, Fraction]
    deviation: dict[str, Fraction] = {}


class Ablation(RecordPart):
    """The accuracy with zeroed units; ``split``: domain -> the images' split, ``images``: how many."""

    split: dict[str, Text]
    images: dict[str, Count] = Field(validation_alias=IMAGES)
    rows: list[AblationRow]


class CalibrationBins(RecordPart):
    """``edges`` (B + 1), ``counts`` (B), mean ``confidence`` and ``accuracy`` (B), None where a bin is empty."""

    edges: list[Fraction]
    counts: list[Count]
    confidence: list[Fraction | None]
    accuracy: list[Fraction | None]


class Calibration(RecordPart):
    """Expected calibration error ``ece`` of the prediction ensemble on ``images`` images, and its bins.

    ``temperature``: that of a calibrated model, by which the logits are divided; None without one.
    """

    ece: Fraction
    images: Count = Field(validation_alias=IMAGES)
    bins: CalibrationBins
    temperature: Temperature | None = None


class ConfusedPair(RecordPart):
    """How many images of one class, the ``label``, were ``predicted`` as another."""

    label: Text
    predicted: Text
    count: Count


class Confusion(RecordPart):
    """``counts[i][j]``: images of ``classes[i]`` that were predicted as ``classes[j]``.

    Of many classes only those with the most errors are listed; ``of`` is the number of all. Of images of ``classes[i]``
    ``predicted_as_others[i]`` were predicted as a class that is not listed, and ``labelled_as_others[j]`` of those predicted as
    ``classes[j]`` belong to one; both are empty where all classes are listed, and in analyses of older versions. ``pairs`` are
    the most frequent errors among all classes.
    """

    classes: list[Text]
    counts: list[list[Count]]
    of: Count
    pairs: list[ConfusedPair]
    predicted_as_others: list[Count] = []
    labelled_as_others: list[Count] = []


class Vote(RecordPart):
    """The class that one source's mask or head predicts, and its ``probability``."""

    class_name: Text = Field(alias="class")
    probability: Fraction


class GalleryItem(RecordPart):
    """One image: its id, its label, and the class and confidence that the prediction ensemble predicts.

    ``votes`` is by source, for a method with masks or heads. ``thumbnail`` is a path relative
    to the run folder, absent where the image could not be read.
    """

    id: Text
    label: Text
    predicted: Text
    confidence: Fraction
    votes: dict[str, Vote] = {}
    thumbnail: Text | None = None


class ImageGallery(RecordPart):
    """Images of one domain: ``kind`` "nearest" (to ``source``, the nearest first) or "mistakes" (the most confident first)."""

    title: Text
    kind: Text
    domain: Text
    source: Text | None = None
    items: list[GalleryItem]

    def with_thumbnails(self, paths: Mapping[str, str]) -> ImageGallery:
        """Return the gallery with the paths of its images' thumbnails; ``paths`` is id -> path, of those that have one."""
        items = [item.model_copy(update={"thumbnail": paths.get(item.id)}) for item in self.items]
        return self.model_copy(update={"items": items})


class Analysis(JSONRecord):
    """The content of ``analysis.json``; a part that was left out, or that the method does not have, is None here, absent there.

    Accuracies are fractions in [0, 1], of the domain's images in the split that ``splits`` names.

    - ``mask_by_domain``: ensemble -> domain -> accuracy (Table 4): a row per source's mask or head, and the ensembles
    - ``mask_by_domain_splits``: domain -> "held_out", or a source's "test" or else "validation"
    - ``sites``: mask site -> :class:`SiteAnalysis`
    - ``epochs``: a row per epoch, counted from 1, and site
    - ``calibration``, ``confusion``: by domain
    - ``per_class``: domain -> class -> accuracy; ``per_class_counts``: of how many images; a class without images is absent
    - ``galleries``: name -> :class:`ImageGallery`
    - ``heat_maps``, ``channels``, ``feature_map``: what the masks look at, see :mod:`domain_masks.records.explanations`
    - ``figures``: the names of the figures and tables in the run's ``figures/`` that belong to this analysis
    - ``notes``: which parts were left out, and why, a sentence each
    """

    newest: ClassVar[int] = SCHEMA
    called: ClassVar[str] = "this is no analysis of a run"
    remedy: ClassVar[str] = "write it again with `dmg analyze RUN`"

    mask_by_domain: dict[str, dict[str, Fraction]]
    mask_by_domain_splits: dict[str, Text]
    sites: dict[str, SiteAnalysis] | None = None
    epochs: list[SiteEpoch] | None = None
    nearest_source: NearestSource | None = None
    ablation: Ablation | None = None
    calibration: dict[str, Calibration]
    confusion: dict[str, Confusion]
    per_class: dict[str, dict[str, Fraction]]
    per_class_counts: dict[str, dict[str, Count]] | None = None
    galleries: dict[str, ImageGallery] | None = None
    heat_maps: HeatMaps | None = None
    channels: ChannelDifferences | None = None
    feature_map: FeatureMap | None = None
    figures: list[Text]
    notes: list[Text]

    def __repr__(self) -> str:
        return f"Analysis({', '.join(self.mask_by_domain_splits)}; {len(self.figures)} figures and tables)"

    @classmethod
    def upgraded(cls, content: Mapping[str, Any]) -> dict[str, Any]:
        """Return the content of an older schema as that of the newest."""
        later = dict(content)
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


def _upgraded_epoch(row: Mapping[str, Any]) -> dict[str, Any]:
    masks = upgraded_masks(dict(row))
    return {**{name: masks[name] for name in row}, "epoch": one_more(row.get("epoch"))}
