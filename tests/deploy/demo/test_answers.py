from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from domain_masks.deploy import Model
from domain_masks.deploy.demo import Answer, answer, shown
from domain_masks.deploy.demo.answers import image_of
from domain_masks.errors import InputError

CLASSES = ("cat", "dog", "owl")
SOURCES = ("ink", "oil", "pen")


def made(**rows: list[float]) -> Answer:
    shares = {
        "predictions": [0.2, 0.7, 0.1],
        "ink": [0.1, 0.8, 0.1],
        "oil": [0.2, 0.6, 0.2],
        "pen": [0.6, 0.3, 0.1],
    } | rows
    logits = {name if name == "predictions" else f"known:{name}": np.log(row) for name, row in shares.items()}
    return Answer("a.png", logits)


def test_votes_are_tallied_and_compared_on_the_classes_that_matter() -> None:
    what = shown(made(), "predictions", CLASSES, SOURCES)
    assert what.prediction.class_name == "dog"
    assert what.prediction.probability == pytest.approx(0.7)
    assert what.tally == [("dog", ["ink", "oil"]), ("cat", ["pen"])]
    assert what.classes == ("dog", "cat", "owl")
    assert what.by_source["pen"] == pytest.approx((0.3, 0.6, 0.1))
    assert what.span == pytest.approx((0.3, 0.8))
    assert what.prediction.nearest_source == "ink"


def test_the_ensemble_changes_the_prediction_and_not_the_votes() -> None:
    first, second = (shown(made(), name, CLASSES, SOURCES) for name in ("predictions", "known:pen"))
    assert second.prediction.class_name == "cat"
    assert second.classes[0] == "cat"
    assert first.prediction.votes == second.prediction.votes


def test_a_class_that_only_a_vote_names_is_compared_as_well() -> None:
    classes = tuple(f"class {number}" for number in range(20))
    base = np.linspace(3, 0, 20)
    odd = base.copy()
    odd[19] = 9
    logits = {"predictions": base, **{f"known:{name}": base for name in ("ink", "oil")}, "known:pen": odd}
    what = shown(Answer("a.png", logits), "predictions", classes, SOURCES)
    assert what.classes == (*classes[:5], "class 19")


def test_a_method_without_votes_has_nothing_to_compare() -> None:
    what = shown(Answer("a.png", {"predictions": np.log([0.2, 0.7, 0.1])}), "predictions", CLASSES, SOURCES)
    assert (what.by_source, what.span, what.tally) == ({}, None, [])


def test_an_answer_is_what_the_model_predicts(model: Model, images: Path) -> None:
    path = images / "stripes" / "red" / "0.png"
    asked = answer(model, path, "mine", "red")
    assert (asked.name, asked.label, set(asked.logits)) == ("mine", "red", set(model.ensembles))
    for ensemble in model.ensembles:
        (expected,) = model.predict(path, ensemble=ensemble)
        found = shown(asked, ensemble, model.classes, model.sources).prediction
        assert found.top == expected.top
        assert found.votes == expected.votes
        assert (found.nearest_source, found.nearest_weight) == (expected.nearest_source, expected.nearest_weight)


def test_a_domain_classifier_says_the_nearest_source() -> None:
    asked = replace(made(), domains=np.array([0.1, 0.2, 0.7], dtype=np.float32))
    what = shown(asked, "predictions", CLASSES, SOURCES)
    assert (what.prediction.nearest_source, what.is_classified) == ("pen", True)
    assert what.prediction.nearest_weight == pytest.approx(0.7)
    assert not shown(made(), "predictions", CLASSES, SOURCES).is_classified


def test_an_image_is_shown_upright_and_small(tmp_path: Path) -> None:
    turned = Image.new("RGB", (2000, 1000), "red")
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.jpg", exif=exif)
    assert image_of(lambda: tmp_path / "turned.jpg", "x").size == (320, 640)
    Image.new("I;16", (9, 7), 4000).save(tmp_path / "deep.png")
    deep = image_of(lambda: tmp_path / "deep.png", "x")
    assert (deep.mode, deep.size) == ("RGB", (9, 7))
    assert max(deep.getpixel((3, 3))) < 20
    as_seen = image_of(lambda: tmp_path / "deep.png", "x", (0.0, 4095.0))
    assert min(as_seen.getpixel((3, 3))) > 240


@pytest.mark.parametrize(
    ("content", "reason"), [(b"", "empty"), (b"%PDF-1.7", "a PDF"), (b"hello", "unsupported or corrupt")]
)
def test_no_image_is_a_message_with_its_own_name(content: bytes, reason: str, tmp_path: Path) -> None:
    (tmp_path / "temporary").write_bytes(content)
    with pytest.raises(InputError, match=rf"^'mine\.png' cannot be read as an image: .*{reason}"):
        image_of(lambda: tmp_path / "temporary", "mine.png")
