from __future__ import annotations

import numpy as np
import pytest

from domain_masks.analysis.from_predictions import MOST_CLASSES, calibration, confusion
from domain_masks.evaluation import expected_calibration_error
from domain_masks.records import Predictions
from domain_masks.records.measured_metrics import FittedTemperature
from domain_masks.report.tables.analysis_frames import analysis_frames
from references.predictions import generated
from report.made_analysis import made_analysis


def of_classes(count: int, images: int) -> Predictions:
    """Predictions of one held-out domain, wrong for about half of the images."""
    generator = np.random.default_rng(0)
    labels = generator.integers(count, size=images)
    logits = generator.normal(size=(images, count)).astype(np.float32)
    logits[np.arange(images), labels] += 2.5
    return Predictions(
        logits={"predictions": logits},
        labels=labels,
        domains=np.ones(images, dtype=np.int64),
        splits=np.full(images, "held_out"),
        ids=np.array([f"{row}.png" for row in range(images)]),
        classes=tuple(f"class {number}" for number in range(count)),
        domain_names=("photo", "sketch"),
        sources=("photo",),
    )


@pytest.mark.parametrize("count", [5, MOST_CLASSES, MOST_CLASSES + 20])
def test_every_image_is_in_the_confusion(count: int) -> None:
    predictions = of_classes(count, 3000)
    analysis = made_analysis().model_copy(update={"confusion": {"sketch": confusion(predictions)}})
    rows = analysis_frames(analysis)["confusion"]
    shown = set(analysis.confusion["sketch"].classes)
    predicted = predictions.of("predictions").argmax(1)
    assert len(shown) == min(count, MOST_CLASSES)
    for number, name in enumerate(predictions.classes):
        if name in shown:
            assert rows[rows["label"] == name]["count"].sum() == (predictions.labels == number).sum()
            assert rows[rows["predicted"] == name]["count"].sum() == (predicted == number).sum()
    assert ("" in set(rows["label"])) == (count > MOST_CLASSES)


def test_the_calibration_is_of_the_probabilities_that_the_model_gives() -> None:
    part = generated(per_split=100).select(split="held_out")
    found = calibration(part, {"predictions": FittedTemperature(value=0.5, images=10)})
    assert found.temperature == 0.5
    assert found.ece == pytest.approx(expected_calibration_error(part.of("predictions") / 0.5, part.labels, 15))
    assert calibration(part).temperature is None
    assert calibration(part).ece != pytest.approx(found.ece)
