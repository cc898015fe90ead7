"""``dm.predict``."""

from __future__ import annotations

from pathlib import Path

import pytest

import domain_masks as dm
from domain_masks.calls import TrainedRun
from domain_masks.errors import InputError


def test_images_are_predicted_as_by_the_model(run: TrainedRun, image: Path) -> None:
    broken = image.with_name("broken.png")
    broken.write_bytes(b"no image")
    predicted = dm.predict(run, image.parent, top=2, quiet=True)
    assert [one.top for one in predicted] == [run.model.predict(image, top=2)[0].top]
    assert [Path(entry.name) for entry in predicted.unreadable] == [broken]
    table = predicted.to_pandas()
    assert list(table["path"]) == [str(image)]
    assert "vote of paper" in table


def test_rows_go_to_a_file(run: TrainedRun, image: Path, tmp_path: Path) -> None:
    predicted = dm.predict(run.model, [image], out=tmp_path / "rows.csv", quiet=True)
    assert (len(predicted), predicted.images) == (0, 1)
    assert len((tmp_path / "rows.csv").read_text(encoding="utf-8").splitlines()) == 2


def test_what_cannot_be_predicted_is_one_message(run: TrainedRun, image: Path) -> None:
    with pytest.raises(InputError, match="no image to predict: 'nowhere/': there is no such"):
        dm.predict(run, "nowhere/")
    with pytest.raises(InputError, match="launcher: only the command"):
        dm.predict(run, image, out="rows.csv", **{"launcher": "ray"})  # type: ignore[arg-type]
    with pytest.raises(InputError, match="there is no model at 'nowhere'"):
        dm.predict("nowhere", image)
    with pytest.raises(InputError, match="standard input"):
        dm.predict(run, "-")


def test_labels_from_folders(run: TrainedRun, image: Path, tmp_path: Path) -> None:
    named = tmp_path / "0" / "a.png"
    named.parent.mkdir()
    named.write_bytes(image.read_bytes())
    predictions = dm.predict(run, named, labels="folder", quiet=True)
    assert predictions.labels is not None
    assert predictions.labels.accuracy == float(predictions[0].class_name == "0")
    assert "labels from folders" in predictions._repr_html_()
