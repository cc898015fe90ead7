"""The domain classifier in whole runs: what it learns from, what it leaves behind, and when there is none."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import generated
from domain_masks.batch import DomainBatch
from domain_masks.data import Subset
from domain_masks.evaluation import top1
from domain_masks.methods.saving import load_model
from domain_masks.records import Predictions
from domain_masks.records.config import parse_config, read_config
from domain_masks.training import Experiment, evaluate, run
from domain_masks.training import domain_classifier as fitting
from domain_masks.training.checkpoints import load_checkpoint
from domain_masks.training.domain_classifier import add_domain_classifier, subsample
from domain_masks.training.launching import launch

TENSORS = {f"method.domain_classifier.{name}" for name in ("weight", "bias", "mean", "scale")}


class Silent:
    def say(self, line: str) -> None:
        pass

    def track(self, items: Iterable[Any], total: int, what: str) -> Iterator[Any]:
        count = 0
        for item in items:
            count += 1
            yield item
        assert count == total, what


@pytest.fixture(scope="module")
def data() -> Any:
    return generated.dataset()


@pytest.fixture(scope="module")
def finished(data: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return run(generated.config(epochs=2), tmp_path_factory.mktemp("runs") / "dmg", dataset=data, reporter=Silent())


def trained(data: Any, folder: Path, **changes: Any) -> Any:
    settings = {"epochs": 1, **changes}
    return run(generated.config(**settings), folder, dataset=data, reporter=Silent())


def test_a_run_leaves_the_weighted_ensemble(finished: Any) -> None:
    results = json.loads(finished.folder.results.read_text())
    for measure in ("out_of_domain", "in_domain"):
        assert list(results[measure]["by_ensemble"])[:3] == ["predictions", "masks", "weighted"]
    assert results["domain_classifier"]["split"] == "validation"
    assert results["domain_classifier"]["accuracy"] > 0.9, "dots and no dots are easily told apart"
    assert set(load_file(finished.folder.model)) >= TENSORS
    for checkpoint in (finished.folder.best, finished.folder.last):
        assert not [name for name in load_checkpoint(checkpoint)["method"] if "domain_classifier" in name]


def test_it_is_the_mean_of_the_sources_predictions_under_its_probabilities(finished: Any, data: Any) -> None:
    method, _ = load_model(finished.folder.path)
    experiment = Experiment(
        parse_config(read_config(finished.folder.config)), data, launch(generated.config()), Silent()
    )
    stored = Predictions.load(finished.folder.predictions).select(split="held_out")
    batches = [experiment.prepare(batch) for batch in experiment.batches(experiment.splits.held_out)]
    with torch.no_grad():
        maps = torch.cat([method.boundary_features(batch) for batch in batches])
        assert method.domain_classifier is not None
        chance = method.domain_classifier(maps if maps.dim() == 2 else maps.mean((2, 3))).numpy()
    expected = sum(chance[:, [d]] * stored.of(f"known:{name}") for d, name in enumerate(stored.sources))
    np.testing.assert_allclose(stored.of("weighted"), expected, rtol=1e-3, atol=1e-4)
    assert not np.allclose(stored.of("weighted"), stored.of("predictions"), atol=1e-3)


def test_its_accuracy_is_that_of_the_sources_validation_images(finished: Any, data: Any) -> None:
    experiment = Experiment(
        parse_config(read_config(finished.folder.config)), data, launch(generated.config()), Silent()
    )
    experiment.method = load_model(finished.folder.path)[0]
    classifier, validation = experiment.method.domain_classifier, experiment.splits.validation
    shares = []
    for index, name in enumerate(experiment.splits.sources):
        mine = Subset(data, validation.indices[validation.domain_indices == data.domains.index(name)])
        (batch,) = experiment.batches(mine)
        with torch.no_grad():
            features = experiment.method.boundary_features(experiment.prepare(batch))
            chance = classifier(experiment.method.network.pooled(features))
        shares.append(top1(chance.numpy(), np.full(len(mine), index)))
    assert finished.results.domain_classifier.accuracy == pytest.approx(np.mean(shares))


def test_evaluating_again_is_the_same_file(finished: Any, data: Any) -> None:
    before = finished.folder.model.read_bytes(), finished.folder.predictions.read_bytes()
    again = evaluate(finished.folder.path, Silent(), dataset=data)
    assert (finished.folder.model.read_bytes(), finished.folder.predictions.read_bytes()) == before
    assert again.results.domain_classifier == finished.results.domain_classifier


def test_a_run_without_one_gets_it_when_it_is_evaluated(finished: Any, data: Any, tmp_path: Path) -> None:
    plain = trained(data, tmp_path / "plain", epochs=2, domain_classifier=False)
    assert "weighted" not in plain.results.out_of_domain.by_ensemble
    assert "domain_classifier" not in plain.results.to_dict()
    tensors = load_file(plain.folder.model)
    assert not TENSORS & set(tensors)
    assert load_model(plain.folder.path)[0].domain_classifier is None
    evaluate(plain.folder.path, Silent(), dataset=data, changes={"domain_classifier": True})
    assert plain.folder.model.read_bytes() == finished.folder.model.read_bytes()


@pytest.mark.parametrize(
    ("changes", "there"),
    [
        ({"method": "multi_headed"}, True),
        ({"method": "aggregate"}, False),
        ({"fast": True}, True),
        ({"freeze_features": True, "views": 1}, True),
        ({"method": "multi_headed", "freeze_features": True, "views": 1}, True),
        ({"precision": "bf16", "method": {"name": "dmg", "average": "probabilities"}}, True),
    ],
)
def test_who_has_one(data: Any, tmp_path: Path, changes: dict[str, Any], there: bool) -> None:
    done = trained(data, tmp_path / "r", **changes)
    predictions = Predictions.load(done.folder.predictions)
    assert ("weighted" in predictions.ensembles) == there
    assert ("domain_classifier" in done.results.to_dict()) == there
    assert bool(TENSORS & set(load_file(done.folder.model))) == there
    if changes.get("fast"):
        assert done.results.domain_classifier.split == "a sample of validation"


def test_only_training_and_validation_images_of_the_sources_are_looked_at(
    data: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = generated.config()
    experiment = Experiment(settings, data, launch(settings), Silent())
    seen: list[int] = []
    fitted: list[int] = []

    def prepare(batch: DomainBatch) -> DomainBatch:
        assert batch.labels is None
        assert batch.random is None
        seen.extend(batch.ids.tolist())
        return Experiment.prepare(experiment, batch)

    def fit(features: torch.Tensor, domains: torch.Tensor, count: int) -> Any:
        fitted.extend(seen)
        return real(features, domains, count)

    real = fitting.fit_domain_classifier
    monkeypatch.setattr(fitting, "fit_domain_classifier", fit)
    monkeypatch.setattr(experiment, "prepare", prepare)
    experiment.method.train()
    add_domain_classifier(experiment)
    assert experiment.method.training
    assert sorted(fitted) == sorted(experiment.splits.train.indices.tolist())
    assert sorted(seen[len(fitted) :]) == sorted(experiment.splits.validation.indices.tolist())


def test_one_source_has_nothing_to_weigh(data: Any) -> None:
    experiment = Experiment(generated.config(), data, launch(generated.config()), Silent())
    experiment.splits = replace(experiment.splits, sources=("dots",))
    assert add_domain_classifier(experiment) is None
    assert experiment.method.domain_classifier is None


def test_a_large_subset_is_subsample_from_every_domain_in_proportion(data: Any) -> None:
    rows = np.concatenate([np.arange(40), np.arange(60, 80), np.arange(120, 122)])
    subset = Subset(data, rows)
    chosen = subsample(subset, 31, seed=0)
    assert np.bincount(chosen.domain_indices).tolist() == [20, 10, 1]
    assert set(chosen.indices.tolist()) <= set(rows.tolist())
    assert chosen.indices.tolist() == sorted(set(chosen.indices.tolist()))
    assert subsample(subset, 31, seed=0).indices.tolist() == chosen.indices.tolist()
    assert subsample(subset, 31, seed=1).indices.tolist() != chosen.indices.tolist()
    assert subsample(subset, 62, seed=0) is subset
    assert np.bincount(subsample(subset, 3, seed=0).domain_indices).tolist() == [1, 1, 1]
