"""A run that is evaluated with an option of test time: its own results stay, and the others are marked everywhere."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import generated
from domain_masks.data import content_of, evaluation_batches
from domain_masks.deploy import load
from domain_masks.errors import InputError, RunFolderError
from domain_masks.evaluation import variants
from domain_masks.experiments.run_index import RunIndex
from domain_masks.methods.adaptation import Tent
from domain_masks.methods.saving import load_model
from domain_masks.progress import ConsoleReporter
from domain_masks.records import Predictions
from domain_masks.records.collection import collect
from domain_masks.records.test_time import AtTestTime
from domain_masks.report import build_report
from domain_masks.report.runs.groups import groups_of
from domain_masks.report.runs.paper_protocol import differences
from domain_masks.sampling import keyed_permutation
from domain_masks.training import evaluate, run

QUIET = ConsoleReporter(quiet=True)
TENT = AtTestTime(adapt="tent", rate=0.01, batch=16)
OPTIONS = {"tent": TENT, "batch-norm": AtTestTime(adapt="batch-norm", batch=16), "flips": AtTestTime(tta="flips")}


@pytest.fixture(scope="module")
def data() -> Any:
    return generated.dataset()


@pytest.fixture(scope="module")
def made(data: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("runs")
    settings = {"boundary": "features.block2", "sites": ("features.block2", "classifier.head"), "epochs": 2}
    ordinary = run(generated.config(**settings, calibrate=True), out / "run", dataset=data, reporter=QUIET)
    before = contents(out / "run")
    found = {
        name: evaluate(out / "run", QUIET, dataset=data, test_time=option, out=out / name)
        for name, option in OPTIONS.items()
    }
    assert contents(out / "run") == before, "the run's own folder is not changed"
    return {"run": ordinary, **found}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_every_number_says_what_was_looked_at(made: dict[str, Any]) -> None:
    for name, option in OPTIONS.items():
        results = made[name].results
        assert results.protocol.test_time == option.in_words()
        assert results.to_dict()["protocol"]["test_time"] == option.in_words()
        assert results.out_of_domain.split == f"all, {option.name}"
        assert results.in_domain.split == f"test, {option.name}"
        assert results.out_of_domain.count == made["run"].results.out_of_domain.count
        assert results.temperatures is None
        assert results.nearest_source is None
        assert results.out_of_domain != made["run"].results.out_of_domain
        assert not (made[name].folder.path / "model.json").exists()
    assert made["run"].results.protocol.test_time is None
    assert "test_time" not in made["run"].results.to_dict()["protocol"]


def test_predictions_keep_their_images_and_labels(made: dict[str, Any]) -> None:
    ordinary = Predictions.load(made["run"].folder.predictions)
    known = dict(zip(ordinary.ids, zip(ordinary.labels, ordinary.domains, ordinary.splits, strict=True), strict=True))
    for name in OPTIONS:
        found = Predictions.load(made[name].folder.predictions)
        assert set(found.logits) == set(ordinary.logits)
        assert sorted(found.ids) == sorted(ordinary.ids)
        assert all(
            known[one] == rest
            for one, rest in zip(found.ids, zip(found.labels, found.domains, found.splits, strict=True), strict=True)
        )


def test_each_domain_is_adapted_to_by_itself_in_an_order_that_is_drawn(made: dict[str, Any], data: Any) -> None:
    """As by TENT of the run's model on the held-out images alone."""
    found = Predictions.load(made["tent"].folder.predictions).select(split="held_out")
    method, _ = load_model(made["run"].folder.path)
    rows = np.flatnonzero(data.domain_indices == data.domains.index("stripes"))
    rows = rows[keyed_permutation(len(rows), 0, "test-time/held_out/stripes")]
    assert found.ids.tolist() == [data.ids[row] for row in rows]
    assert len(set(found.labels[:8].tolist())) > 1, "not class by class"
    from domain_masks.data import Subset  # noqa: PLC0415

    preparation = load(made["run"].folder.path, device="cpu").preprocessing
    tent = Tent(method, TENT.rate)
    sizes, logits = [], []
    # 60 images: three batches of 16, and 12, which are enough for a batch of their own.
    for batch in evaluation_batches(Subset(data, rows), preparation, 16, with_labels=False):
        sizes.append(len(batch))
        logits.append(tent.output(replace(batch, images=preparation.normalize(batch.images))).logits["masks"].numpy())
    assert sizes == [16, 16, 16, 12]
    np.testing.assert_allclose(found.of("masks"), np.concatenate(logits), rtol=1e-3, atol=1e-4)


def test_the_same_again(made: dict[str, Any], data: Any, tmp_path: Path) -> None:
    again = evaluate(made["run"].folder.path, QUIET, dataset=data, test_time=TENT, out=tmp_path / "again")
    one, other = (Predictions.load(each.folder.predictions) for each in (made["tent"], again))
    assert all(np.array_equal(one.logits[name], other.logits[name]) for name in one.logits)
    reference = {name: part for name, part in made["tent"].results.to_dict().items() if name != "seconds"}
    assert {name: part for name, part in again.results.to_dict().items() if name != "seconds"} == reference


def test_reports_never_mix_them_with_ordinary_numbers(made: dict[str, Any]) -> None:
    collection = collect([each.folder.path for each in made.values()])
    groups = groups_of(collection.runs)
    assert len(groups) == 4
    assert all(len(group.records) == 1 for group in groups)
    assert groups[0].records[0].results.protocol.test_time is None, "ordinary predictions come first"
    assert sum("test time: tent" in group.title for group in groups) == 1
    (alone,) = groups_of(collect([made["tent"].folder.path]).runs)
    assert "test time: tent" in alone.title
    assert "order and batch size matter" in alone.title
    assert len(variants(collection.runs)) == 4
    (record,) = collect([made["tent"].folder.path]).runs
    assert "test time" in [difference.setting for difference in differences([record])]
    report = build_report(collection)
    shown = [table for table in report.tables if table.name.endswith("out-of-domain-metrics")]
    assert len({split for table in shown for split in table.frame["split"]}) == 4


def test_a_benchmark_does_not_take_them_for_runs(made: dict[str, Any], data: Any) -> None:
    out = made["run"].folder.path.parent
    index = RunIndex(out, data)
    assert content_of(data)
    assert [folder.path.name for folder in index._by_key.values()] == ["run"]


def test_misuse(made: dict[str, Any], data: Any, tmp_path: Path) -> None:
    folder = made["run"].folder.path
    with pytest.raises(InputError, match="do not replace those of the run: add --out"):
        evaluate(folder, QUIET, dataset=data, test_time=TENT)
    for taken in (folder, made["tent"].folder.path):
        with pytest.raises(InputError, match="which is not empty"):
            evaluate(folder, QUIET, dataset=data, test_time=TENT, out=taken)
    with pytest.raises(RunFolderError, match="holds no run"):
        evaluate(tmp_path, QUIET, dataset=data, test_time=TENT, out=tmp_path / "other")


def test_a_method_on_features_is_not_adapted_but_has_views(data: Any, tmp_path: Path) -> None:
    closed = run(
        generated.config(epochs=1, method="dica", freeze_features=False),
        tmp_path / "closed",
        dataset=data,
        reporter=QUIET,
    )
    with pytest.raises(InputError, match="features of a fixed network"):
        evaluate(closed.folder.path, QUIET, dataset=data, test_time=TENT, out=tmp_path / "adapted")
    flipped = evaluate(closed.folder.path, QUIET, dataset=data, test_time=OPTIONS["flips"], out=tmp_path / "flipped")
    assert flipped.results.out_of_domain is not None


def test_frozen_features_are_computed_from_the_images_themselves(data: Any, tmp_path: Path) -> None:
    run(generated.config(epochs=1, freeze_features=True), tmp_path / "run", dataset=data, reporter=QUIET)
    for name, option in OPTIONS.items():
        found = evaluate(tmp_path / "run", QUIET, dataset=data, test_time=option, out=tmp_path / name)
        assert found.results.out_of_domain.count == 60
