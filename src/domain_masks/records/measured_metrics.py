"""Metrics beside accuracy, as ``results.json`` has them, and the temperatures of a calibrated model."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from domain_masks.records.json_record import Count, Fraction, Ordinal, RecordPart, Text

LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE = 1e-3, 1e3
LEAST_IN_GROUP = 10
"""The images that a group needs to be the worst one: of fewer, a low accuracy is as likely chance."""
TOP_K = 5


Temperature = Annotated[float, Field(ge=LOWEST_TEMPERATURE, le=HIGHEST_TEMPERATURE)]


class FittedTemperature(RecordPart):
    """The temperature of one ensemble (Guo et al., 2017), by which its logits are divided before the softmax.

    - ``value``: above 1 where the model was too confident
    - ``images``: how many source validation images it was fitted on: of all sources, or of its own for "known:DOMAIN"
    """

    value: Temperature
    images: Ordinal


class WorstGroup(RecordPart):
    """The images of one class in one domain with the lowest accuracy, among those of at least ``least`` images.

    - ``images``: how many images it has; ``left_out``: how many groups have images, but fewer than ``least``
    """

    domain: Text
    class_name: Text
    accuracy: Fraction
    images: Count
    least: Count
    left_out: Count = 0


class DomainMetrics(RecordPart):
    """Metrics of the prediction ensemble on one domain.

    - ``images``: how many; ``classes``: how many classes have images here, of all ``of_classes``
    - ``macro_f1``: the mean of F1 over the classes with images
    - ``top_5``: how often the label is among the five largest logits; absent with five or fewer classes
    - ``auroc``: the mean over the classes with images of the area under the ROC curve of a class against the rest; absent where
      all images are of one class
    - ``calibration_error``: the expected calibration error of the probabilities without a temperature
    - ``calibrated_error``: with it; absent without one, and where the images are those that it was fitted on
    """

    images: Count
    classes: Count
    of_classes: Count
    macro_f1: Fraction
    top_5: Fraction | None = None
    auroc: Fraction | None = None
    calibration_error: Fraction
    calibrated_error: Fraction | None = None


class MeasureMetrics(RecordPart):
    """Metrics of one measure: the unweighted means over its domains, each absent where it is absent in one of them.

    - ``images``: how many there are in all ``per_domain``
    - ``worst_group``: over all domains and classes; absent where no group is large enough
    """

    images: Count
    macro_f1: Fraction
    top_5: Fraction | None = None
    auroc: Fraction | None = None
    calibration_error: Fraction
    calibrated_error: Fraction | None = None
    worst_group: WorstGroup | None = None
    per_domain: dict[str, DomainMetrics]
