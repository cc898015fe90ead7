from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from deploy.examples import card
from domain_masks.deploy import Model
from domain_masks.deploy.demo import answers
from domain_masks.deploy.demo.answers import answer, image_of
from domain_masks.deploy.predicting.prediction import ModelOutput
from domain_masks.errors import InputError
from methods.contract import built


def toy(name: str = "dmg") -> Model:
    described = card(16, targets=[], preprocessing={"size": 16, "resize": 16, "square": True})
    return Model(built(name), described, "cpu")


def output_of(model: Model, rows: dict[str, list[float]]) -> ModelOutput:
    """Return what the model gives of one image: shares of the first classes, the same for all ensembles but those named."""
    logits = {}
    for name in model.ensembles:
        row = np.full(len(model.classes), 1e-6)
        shares = rows.get(name, rows["predictions"])
        row[: len(shares)] = shares
        logits[name] = np.log(row, dtype=np.float32)[np.newaxis]
    return ModelOutput(["a.png"], logits)


def test_votes_are_tallied_and_compared_on_the_classes_that_matter() -> None:
    model = toy()
    first, second, third = (f"known:{name}" for name in model.sources)
    rows = {"predictions": [0.2, 0.7, 0.1], first: [0.1, 0.8, 0.1], second: [0.2, 0.6, 0.2], third: [0.6, 0.3, 0.1]}
    what = answer(model, output_of(model, rows), "predictions")
    assert what.prediction.class_name == model.classes[1]
    assert what.prediction.probability == pytest.approx(0.7, abs=1e-4)
    assert what.tally == [(model.classes[1], list(model.sources[:2])), (model.classes[0], [model.sources[2]])]
    assert list(what.by_class)[:3] == [model.classes[index] for index in (1, 0, 2)]
    own = [what.by_class[name][model.sources[2]] for name in model.classes[:3]]
    assert own == pytest.approx([0.6, 0.3, 0.1], abs=1e-4)
    assert what.span == pytest.approx((0.3, 0.8), abs=1e-4)
    alone = answer(model, output_of(model, rows), third)
    assert (alone.prediction.class_name, next(iter(alone.by_class))) == (model.classes[0], model.classes[0])
    assert alone.prediction.votes == what.prediction.votes


def test_a_class_that_only_a_vote_names_is_compared_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "TOP", 2)
    model = toy()
    rows = {"predictions": [0.6, 0.3, 0.1], f"known:{model.sources[0]}": [0.1, 0.1, 0.1, 0.7]}
    what = answer(model, output_of(model, rows), "predictions")
    assert list(what.by_class) == [model.classes[index] for index in (0, 1, 3)]


def test_a_method_without_votes_has_nothing_to_compare() -> None:
    model = toy("aggregate")
    what = answer(model, output_of(model, {"predictions": [0.2, 0.7, 0.1]}), "predictions", "x")
    assert (what.span, what.tally, what.label) == (None, [], "x")
    assert not any(what.by_class.values())


def test_an_answer_is_what_the_model_predicts(model: Model, images: Path) -> None:
    path = images / "stripes" / "red" / "0.png"
    (output,) = model.outputs(path)
    for ensemble in model.ensembles:
        (expected,) = model.predict(path, ensemble=ensemble)
        found = answer(model, output, ensemble)
        assert found.prediction == expected
        for source in model.sources:
            probabilities = torch.from_numpy(output.logits[f"known:{source}"][0]).double().softmax(0)
            assert [found.by_class[name][source] for name in found.by_class] == pytest.approx(
                [float(probabilities[model.classes.index(name)]) for name in found.by_class]
            )


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
