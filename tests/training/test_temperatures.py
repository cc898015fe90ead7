"""The metrics and temperatures that a run leaves behind."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import generated
from domain_masks.deploy import load
from domain_masks.errors import RunFolderError
from domain_masks.evaluation import accuracies, fitted_temperatures, metrics
from domain_masks.progress import ConsoleReporter
from domain_masks.records import Predictions, Results
from domain_masks.records.model_card import ModelCard
from domain_masks.training import evaluate, run


@pytest.fixture(scope="module")
def data() -> Any:
    """Some labels are wrong, so that not every validation image is predicted correctly."""
    made = generated.dataset()
    labels = made.labels.copy()
    labels[::4] = (labels[::4] + 1) % 3
    return replace(made, labels=labels)


@pytest.fixture(scope="module")
def folder(data: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("runs") / "dmg"
    run(generated.config(epochs=2), made, dataset=data, reporter=ConsoleReporter(quiet=True))
    return made


@pytest.mark.parametrize("changes", [{"mean": [1.0, 1.0, 1.0], "std": [0.5, 0.5, 0.5]}, {"recalibrate_bn": True}])
def test_a_run_is_not_evaluated_with_settings_of_another(
    changes: dict[str, Any], folder: Path, data: Any, tmp_path: Path
) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    other = tmp_path / "other.yaml"
    values = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    other.write_text(yaml.safe_dump({**values, **changes}), encoding="utf-8")
    reporter = ConsoleReporter(quiet=True)
    for options in ({"config_file": other}, {"changes": changes}):
        with pytest.raises(RunFolderError, match=rf"holds a run with other settings: {next(iter(changes))} \(was"):
            evaluate(folder, reporter, dataset=data, **options)
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before
    other.write_text(yaml.safe_dump({**values, "workers": 0, "calibrate": False}), encoding="utf-8")
    assert evaluate(folder, reporter, dataset=data, config_file=other).results.metrics is not None


def test_metrics_are_those_of_the_predictions(folder: Path) -> None:
    results = Results.read(folder / "results.json")
    assert results.metrics == metrics(Predictions.load(folder / "predictions.npz"))
    assert results.temperatures is None


@pytest.mark.parametrize("average", ["logits", "probabilities"])
def test_calibration_changes_probabilities_and_no_class(average: str, data: Any, tmp_path: Path) -> None:
    reporter = ConsoleReporter(quiet=True)
    settings = {"name": "dmg", "average": average}
    run(generated.config(epochs=2, method=settings), tmp_path / "run", dataset=data, reporter=reporter)
    before = Results.read(tmp_path / "run" / "results.json")
    predictions = Predictions.load(tmp_path / "run" / "predictions.npz")
    images = [data.open_image(row) for row in range(0, len(data.ids), 7)]
    plain = load(tmp_path / "run", device="cpu").predict(images, top=3)
    after = evaluate(tmp_path / "run", reporter, dataset=data, changes={"calibrate": True}).results
    assert after.temperatures == fitted_temperatures(predictions)
    assert after.temperatures
    # The settings of the run do not say it, and it is not lost all the same.
    assert evaluate(tmp_path / "run", reporter, dataset=data).results.temperatures == after.temperatures
    assert ModelCard.read(tmp_path / "run" / "model.json").temperatures == after.temperatures
    assert (after.out_of_domain, after.in_domain, after.known_domain) == (
        before.out_of_domain,
        before.in_domain,
        before.known_domain,
    )
    assert after.metrics == metrics(predictions, after.temperatures)
    assert accuracies(predictions) == accuracies(Predictions.load(tmp_path / "run" / "predictions.npz"))
    model = load(tmp_path / "run", device="cpu")
    value = after.temperatures["predictions"].value
    logits = model.logits(images)["predictions"].double().numpy() / value
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    for row, (one, other) in enumerate(zip(plain, model.predict(images, top=3), strict=True)):
        assert [guess.class_name for guess in one.top] == [guess.class_name for guess in other.top]
        assert other.probability == pytest.approx(expected[row].max())
    # A copy keeps its temperatures.
    model.save(tmp_path / "copy")
    assert load(tmp_path / "copy", device="cpu").card.temperatures == after.temperatures
    assert "calibrated with temperature" in model.about_probabilities("predictions")
    assert "were not calibrated" not in model.model_card()


def test_a_finished_run_that_is_resumed_says_how_it_is_calibrated(
    folder: Path, data: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    run(generated.config(epochs=2, calibrate=True), folder, resume=True, dataset=data)
    assert f"--calibrate changes nothing here: `dmg evaluate {folder} --calibrate`" in capsys.readouterr().err
    run(generated.config(epochs=2), folder, resume=True, dataset=data)
    assert "changes nothing" not in capsys.readouterr().err
