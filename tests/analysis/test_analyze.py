"""A run's masks analyzed as a whole, on generated images."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import softmax

import generated
from domain_masks.analysis import analyze
from domain_masks.analysis.from_predictions import CALIBRATION_BINS
from domain_masks.data import without_rows
from domain_masks.errors import InputError, RunFolderError
from domain_masks.evaluation import expected_calibration_error, mask_by_domain
from domain_masks.records import Analysis, Predictions, Results, RunFolder
from domain_masks.records.measured_metrics import FittedTemperature
from domain_masks.training import run

SOURCES = ("dots", "plain")


class Silent:
    def say(self, line: str) -> None: ...

    def track(self, items: Iterable[Any], total: int, what: str) -> Iterator[Any]:
        yield from items


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "run"
    config = generated.config(epochs=4, lr_masks=0.3)
    return run(config, path, dataset=generated.dataset(), reporter=Silent()).folder.path


@pytest.fixture
def copied(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


def analyzed(path: Path, **options: Any) -> Analysis:
    return analyze(path, **{"dataset": generated.dataset(), "reporter": Silent(), **options})


def test_everything_is_there(copied: Path) -> None:
    found = analyzed(copied)
    assert found.notes == []
    folder = RunFolder(copied)
    assert Analysis.read(folder.analysis) == found
    predictions = Predictions.load(folder.predictions)
    assert found.mask_by_domain == mask_by_domain(predictions)
    assert found.mask_by_domain_splits == {"dots": "test", "plain": "test", "stripes": "held_out"}
    assert found.sites is not None
    assert found.epochs is not None
    last = {row.site: row for row in found.epochs if row.epoch == 4}
    assert set(found.sites) == set(last)
    assert {row.epoch for row in found.epochs} == {1, 2, 3, 4}
    assert found.nearest_source is not None
    assert set(found.per_class["stripes"]) == set(generated.CLASSES)
    assert found.figures == []
    items = [item for gallery in (found.galleries or {}).values() for item in gallery.items]
    assert items
    assert all((copied / item.thumbnail).is_file() for item in items)
    assert found.heat_maps is not None
    assert [image.domain for image in found.heat_maps.images] == [
        d for d in ("dots", "plain", "stripes") for _ in range(3)
    ]
    files = [image.thumbnail for image in found.heat_maps.images]
    for image in found.heat_maps.images:
        assert list(image.maps) == ["predictions", "known:dots", "known:plain"]
        files += [one.thumbnail for one in image.maps.values()]
    assert len(set(files)) == len(files) == 9 * 4
    assert all((copied / file).is_file() for file in files)
    assert found.channels is not None
    assert found.channels.images == {"dots": 6, "plain": 6}
    shown = [image for pair in found.channels.pairs for channel in pair.channels for image in channel.images]
    assert shown
    assert all((copied / image.thumbnail).is_file() for image in shown)
    assert found.feature_map is not None
    assert len(found.feature_map.x) == 72


def test_nothing_switched_off_is_what_the_run_stored(copied: Path) -> None:
    found = analyzed(copied, images=None).ablation
    assert found is not None
    none = found.rows[0]
    assert none.accuracy == Analysis.read(copied / "analysis.json").mask_by_domain["predictions"]
    assert found.images == {"dots": 6, "plain": 6, "stripes": 60}
    everything = [row for row in found.rows if row.kind in ("shared", "specific") and row.fraction == 1]
    assert everything
    assert all(row.draws == 1 for row in everything)


def test_the_same_numbers_again(copied: Path) -> None:
    first = analyzed(copied, images=30)
    assert analyzed(copied, images=30) == first
    assert sum(first.ablation.images.values()) == 30


def test_without_the_model_galleries_keep_their_thumbnails(copied: Path) -> None:
    (copied / "checkpoints" / "best.ckpt").unlink()
    found = analyzed(copied, with_model=False)
    assert found.ablation is None
    assert any(item.thumbnail is not None for gallery in (found.galleries or {}).values() for item in gallery.items)


def test_without_its_dataset_the_rest_is_done(copied: Path) -> None:
    found = analyze(copied, reporter=Silent())  # there is no dataset of that name
    assert found.sites is not None
    assert found.ablation is None
    assert any("dataset cannot be opened" in note and "generated" in note for note in found.notes)
    with pytest.raises(InputError, match="nowhere"):
        analyze(copied, reporter=Silent(), changes={"dataset": "./nowhere"})


def test_images_that_are_gone_are_counted(copied: Path) -> None:
    whole = generated.dataset()
    gone = [row for row, name in enumerate(whole.ids) if name.startswith("stripes/red/")]
    found = analyzed(copied, dataset=without_rows(whole, gone), images=None)
    assert any("20 of 72 images are no longer" in note for note in found.notes)
    assert found.ablation is not None
    assert found.ablation.images["stripes"] == 40


def test_images_that_are_others_are_told(copied: Path) -> None:
    other = generated.dataset()
    other.open_image.pixels = 255 - other.open_image.pixels  # type: ignore[attr-defined]
    found = analyzed(copied, dataset=other)
    assert any("not comparable" in note for note in found.notes)


def test_probabilities_are_those_that_a_calibrated_model_gives(copied: Path) -> None:
    folder = RunFolder(copied)
    fitted = {"predictions": 0.3, "known:dots": 3.0}
    temperatures = {name: FittedTemperature(value=value, images=9) for name, value in fitted.items()}
    Results.read(folder.results).model_copy(update={"temperatures": temperatures}).write(folder.results)
    found, predictions = analyzed(copied), Predictions.load(folder.predictions)
    rows = {str(name): row for row, name in enumerate(predictions.ids)}
    of_held_out = predictions.select(split="held_out")
    error = expected_calibration_error(of_held_out.of("predictions") / 0.3, of_held_out.labels, CALIBRATION_BINS)
    assert found.calibration["stripes"].ece == pytest.approx(error)
    assert found.calibration["stripes"].temperature == 0.3
    assert found.heat_maps is not None
    for image in found.heat_maps.images:
        label = predictions.classes.index(image.predicted)
        for name, shown in image.maps.items():
            logits = predictions.of(name)[rows[image.id]] / fitted.get(name, 1.0)
            assert shown.probability == pytest.approx(softmax(logits)[label], abs=1e-4)


def test_a_class_without_test_images_is_absent_and_said(copied: Path) -> None:
    folder = RunFolder(copied)
    predictions = Predictions.load(folder.predictions)
    held_out = (predictions.splits == "held_out") & (predictions.labels == generated.CLASSES.index("red"))
    predictions.rows(~held_out).save(folder.predictions)
    found = analyzed(copied, with_images=False)
    assert set(found.per_class["stripes"]) == {"blue", "green"}
    assert any("stripes has no images of red" in note for note in found.notes)


def test_masks_that_cannot_be_read_leave_the_rest(copied: Path) -> None:
    (copied / "model.json").unlink()
    found = analyzed(copied)
    assert found.sites is None
    assert any("model.json" in note for note in found.notes)
    assert found.calibration


@pytest.mark.parametrize(("method", "has_heads"), [("aggregate", False), ("multi_headed", True)])
def test_a_method_without_masks_gets_what_it_can_have(tmp_path: Path, method: str, has_heads: bool) -> None:
    config = generated.config(epochs=1, method=method)
    path = run(config, tmp_path / "run", dataset=generated.dataset(), reporter=Silent()).folder.path
    found = analyzed(path)
    assert (found.sites, found.epochs, found.ablation, found.channels) == (None, None, None, None)
    assert found.heat_maps is not None
    assert list(found.heat_maps.images[0].maps) == [
        "predictions",
        *(["known:dots", "known:plain"] if has_heads else []),
    ]
    assert found.feature_map is not None
    assert (found.nearest_source is not None) == has_heads
    assert any(f"{method!r} has no masks" in note for note in found.notes)
    assert set(found.calibration) == set(found.confusion) == {"dots", "plain", "stripes"}


def test_parts_are_left_out_on_request(copied: Path) -> None:
    found = analyzed(copied, heat_maps=0, channels=0, projection="none")
    assert (found.heat_maps, found.channels, found.feature_map, found.notes) == (None, None, None, [])
    assert found.ablation is not None
    found = analyzed(copied, with_model=False)
    assert (found.heat_maps, found.feature_map) == (None, None)
    assert found.channels is not None
    assert all(not channel.images for pair in found.channels.pairs for channel in pair.channels)
    assert any("no class activation maps" in note for note in found.notes)


def test_the_probability_below_a_map_is_that_of_the_run(copied: Path) -> None:
    found = analyzed(copied, heat_maps=2).heat_maps
    predictions = Predictions.load(RunFolder(copied).predictions)
    assert found is not None
    for image in found.images:
        (row,) = np.flatnonzero(predictions.ids == image.id)
        for ensemble, shown in image.maps.items():
            logits = predictions.of(ensemble)[row].astype(np.float64)
            probabilities = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
            expected = probabilities[predictions.classes.index(image.predicted)]
            assert shown.probability == pytest.approx(expected, abs=1e-4)


def test_misuse(copied: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least one image for the ablation"):
        analyzed(copied, images=0)
    with pytest.raises(InputError, match="heat_maps: expected 0, for none, or more, got -1"):
        analyzed(copied, heat_maps=-1)
    with pytest.raises(InputError, match="'tsne'"):
        analyzed(copied, projection="tsne")
    with pytest.raises(InputError, match="'tpu'"):
        analyzed(copied, changes={"device": "tpu"})
    with pytest.raises(RunFolderError, match=r"results\.json is missing"):
        analyzed(tmp_path / "nowhere")
    (copied / "predictions.npz").write_bytes(b"half")
    with pytest.raises(RunFolderError, match=r"predictions\.npz"):
        analyzed(copied)
    assert not np.any([path.name == "analysis.json" for path in copied.iterdir()])
