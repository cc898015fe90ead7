"""The nearest source of an image is the same wherever it is named, and says how far it can be trusted."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import generated
from domain_masks.analysis import analyze
from domain_masks.deploy import load
from domain_masks.deploy.demo.answers import answer
from domain_masks.records import Analysis, Predictions
from domain_masks.records.collection import collect
from domain_masks.report.report_builder import build_report
from domain_masks.training import evaluate, run


class Silent:
    def say(self, line: str) -> None: ...

    def track(self, items: Any, total: int, what: str) -> Any:
        yield from items


DATA = generated.dataset(10)


def trained(folder: Path, **changes: Any) -> Path:
    settings: dict[str, Any] = {"epochs": 1, **changes}
    return run(generated.config(**settings), folder, dataset=DATA, reporter=Silent()).folder.path


@pytest.fixture(scope="module", params=[{}, {"method": "multi_headed"}, {"domain_classifier": False}], ids=str)
def finished(request: Any, tmp_path_factory: Any) -> Path:
    path = trained(tmp_path_factory.mktemp("runs") / "run", **request.param)
    analyze(path, dataset=DATA, with_model=False, with_images=False, reporter=Silent())
    return path


def nearest_by_predicting(path: Path) -> dict[str, Counter[str]]:
    """Domain -> how many of the images that an analysis shows `predict` finds nearest to each source."""
    model, stored = load(path, device="cpu"), Predictions.load(path / "predictions.npz")
    found: dict[str, Counter[str]] = {}
    row_of = {name: row for row, name in enumerate(DATA.ids)}
    for name, domain, split in zip(stored.ids, stored.domains, stored.splits, strict=True):
        if split in ("test", "held_out"):
            with DATA.open_image(row_of[str(name)]) as image:
                (one,) = model.predict(image.copy())
            assert one.nearest_source is not None
            found.setdefault(stored.domain_names[domain], Counter())[one.nearest_source] += 1
    return found


def test_analysis_and_predict_agree_on_every_image(finished: Path) -> None:
    analysis = Analysis.read(finished / "analysis.json")
    assert analysis.nearest_source is not None
    for domain, counts in nearest_by_predicting(finished).items():
        total = sum(counts.values())
        shares = {source: counts[source] / total for source in ("dots", "plain")}
        assert analysis.nearest_source.domains[domain] == pytest.approx(shares)


def test_the_accuracy_stands_beside_it_everywhere(finished: Path) -> None:
    results = json.loads((finished / "results.json").read_text())["nearest_source"]
    card = json.loads((finished / "model.json").read_text())["nearest_source"]
    analysis = Analysis.read(finished / "analysis.json").nearest_source
    assert analysis is not None
    assert results == card == analysis.right.model_dump()
    own = [analysis.domains[source][source] for source in ("dots", "plain")]
    assert results["accuracy"] == pytest.approx(np.mean(own))
    assert analysis.rules[results["by"]] == results["accuracy"]
    model = load(finished, device="cpu")
    with DATA.open_image(0) as image:
        (output,) = model.outputs(image.copy())
        (one,) = model.predict(image.copy())
    assert one.nearest_accuracy == results["accuracy"]
    shown = answer(model, output, "predictions").prediction
    assert (shown.nearest_source, shown.nearest_accuracy) == (one.nearest_source, one.nearest_accuracy)
    said = (
        f"by the {results['by']}, which is correct on {100 * results['accuracy']:.1f} % of the sources' own test images"
    )
    assert said in model.about_nearest()
    report = build_report(collect([finished]))
    notes = [note for table in report.tables if table.name.endswith("nearest") for note in table.notes]
    assert any(
        f"correct on {100 * results['accuracy']:.1f} % of the sources' own test images (n = " in note for note in notes
    )


def test_a_run_whose_predictions_do_not_know_the_classifier_names_none_by_another_rule(tmp_path: Path) -> None:
    path = trained(tmp_path / "run")
    with np.load(path / "predictions.npz") as archive:
        content = {name: archive[name] for name in archive.files if name != "domain_probabilities"}
    np.savez(path / "predictions.npz", **content)
    found = analyze(path, dataset=DATA, with_model=False, with_images=False, reporter=Silent())
    assert found.nearest_source is None
    assert not [one for one in (found.galleries or {}).values() if one.kind == "nearest"]
    assert any("no nearest source" in note and "dmg evaluate RUN" in note for note in found.notes)
    evaluate(path, Silent(), dataset=DATA)
    again = analyze(path, dataset=DATA, with_model=False, with_images=False, reporter=Silent())
    assert again.nearest_source is not None
    assert again.nearest_source.right.by == "domain classifier"


def test_a_method_without_masks_says_why_there_is_none(tmp_path: Path) -> None:
    path = trained(tmp_path / "run", method="aggregate")
    assert "nearest_source" not in json.loads((path / "results.json").read_text())
    assert "no mask or head per source" in load(path, device="cpu").about_nearest()
    found = analyze(path, dataset=DATA, with_model=False, with_images=False, reporter=Silent())
    assert any("no nearest source: the method has no mask or head per source" in note for note in found.notes)
