"""The first epochs with frozen lower layers: nothing of them changes, then all is trained, at once or layer by layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import generated
from domain_masks.errors import InputError
from domain_masks.methods import METHODS
from domain_masks.progress import ConsoleReporter
from domain_masks.records.config import RunConfig
from domain_masks.training import run
from domain_masks.training.engine import TrainingEngine
from domain_masks.training.freezing import FrozenEpochs
from domain_masks.training.launching import launch
from methods import contract

QUIET = ConsoleReporter(quiet=True)
TRAINING_F = [kind.name for kind in METHODS.values() if not kind.is_closed_form() and kind.needs != "features"]


def lower_layers(method: Any) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in method.network.feature_state().items()}


@pytest.mark.parametrize("name", TRAINING_F)
def test_lower_layers_stay_as_they_are_and_are_trained_afterwards(name: str) -> None:
    method = contract.built(name)
    if not FrozenEpochs(method, 1).layers:
        pytest.skip("it trains none of them")
    batches = [contract.toy_batch(step=step) for step in range(2 * max(2, len(method.phases())))]
    frozen = len(batches) // 2
    config = RunConfig(lr=0.01, weight_decay=0.1, freeze_epochs=frozen)
    engine = TrainingEngine(launch(config), method.train(), config, epochs=len(batches), steps_per_epoch=1)
    before, upper = lower_layers(method), {k: v.clone() for k, v in method.state_dict().items()}
    for epoch, batch in enumerate(batches):
        engine.begin(epoch, 0, len(batch))
        with batch.random.seeded("layers"):
            method.step(batch, engine)
        engine.finish_epoch()
        if epoch == frozen - 1:
            now = lower_layers(method)
            assert all(torch.equal(now[key], value) for key, value in before.items())
            assert any(not torch.equal(upper[key], value) for key, value in method.state_dict().items())
    now = lower_layers(method)
    weights = [key for key in before if key.endswith("weight")]
    assert any(not torch.equal(now[key], before[key]) for key in weights)
    if name in ("dmg", "aggregate", "multi_headed"):
        assert all(not torch.equal(now[key], before[key]) for key in weights), "all of them"
        assert any(not torch.equal(now[key], before[key]) for key in before if "running_mean" in key)


@pytest.mark.parametrize("name", TRAINING_F)
def test_layers_are_trained_one_by_one_from_the_last_to_the_first(name: str) -> None:
    method = contract.built(name)
    layers = FrozenEpochs(method, 1, 1).layers
    if not layers:
        pytest.skip("it trains none of them")
    batches = [contract.toy_batch(step=step) for step in range(max(len(layers) + 2, len(method.phases())))]
    config = RunConfig(lr=0.01, weight_decay=0.1, freeze_epochs=1, unfreeze_every=1)
    engine = TrainingEngine(launch(config), method.train(), config, epochs=len(batches), steps_per_epoch=1)
    before, changed = lower_layers(method), []
    for epoch, batch in enumerate(batches):
        engine.begin(epoch, 0, len(batch))
        with batch.random.seeded("layers"):
            method.step(batch, engine)
        engine.finish_epoch()
        now = lower_layers(method)
        changed.append({key for key, value in before.items() if not torch.equal(now[key], value)})
    frozen = set(before)
    for epoch, layer in enumerate([None, *layers]):
        # Batch norm's statistics belong to the layer of its weights.
        frozen -= {key for key in before if layer is not None and key.startswith(layer.name)}
        assert not changed[epoch] & frozen, epoch
    assert not frozen
    if name in ("dmg", "aggregate", "multi_headed"):
        statistics = [{key for key in keys if "running_mean" in key} for keys in changed]
        weights = [{key for key in keys if key.endswith("weight")} for keys in changed]
        assert [len(keys) for keys in statistics] == [0, *range(1, len(layers) + 1), len(layers)]
        assert [len(keys) for keys in weights] == [2 * len(keys) for keys in statistics]


def test_what_is_trained_from_an_epoch_on_is_said() -> None:
    method = contract.built("dmg")
    said = [FrozenEpochs(method, 1, 2).describe(epoch) for epoch in range(7)]
    assert said == [
        "3 layers below classifier.hidden frozen in epoch 1, then one is added every 2 epochs; all are trained from epoch 6 on",
        "epoch 2: features.block3 is trained from now on, 1 of 3 layers",
        "",
        "epoch 4: features.block2 is trained from now on, 2 of 3 layers",
        "",
        "epoch 6: all layers are trained from now on",
        "",
    ]
    assert [FrozenEpochs(method, 2).describe(epoch) for epoch in range(4)] == [
        "3 layers below classifier.hidden frozen in epochs 1 to 2; all are trained from epoch 3 on",
        "",
        "epoch 3: all layers are trained from now on",
        "",
    ]
    assert "then one is added every epoch; all are trained from epoch 4 on" in FrozenEpochs(method, 1, 1).describe(0)
    assert not FrozenEpochs(method, 0).describe(0)


@pytest.mark.parametrize(
    "changes", [{"freeze_epochs": 2}, {"freeze_epochs": 1, "unfreeze_every": 1, "boundary": "features.block3"}], ids=str
)
def test_a_run_interrupted_within_the_frozen_epochs_ends_like_an_undisturbed_one(
    changes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, dataset = (
        generated.config(epochs=3, layer_decay=0.7, warmup_epochs=1, **changes),
        generated.dataset(8),
    )
    whole = run(settings, tmp_path / "whole", dataset=dataset, reporter=QUIET).folder
    finish, ended = TrainingEngine.finish_epoch, []

    def stop_after_one(engine: TrainingEngine) -> None:
        finish(engine)
        ended.append(engine.epoch)
        if len(ended) in (2, 4):
            raise KeyboardInterrupt

    monkeypatch.setattr(TrainingEngine, "finish_epoch", stop_after_one)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run(settings, tmp_path / "parts", resume=bool(ended), dataset=dataset, reporter=QUIET)
    parts = run(settings, tmp_path / "parts", resume=True, dataset=dataset, reporter=QUIET).folder
    assert ended == [0, 1, 1, 2, 2]
    assert parts.model.read_bytes() == whole.model.read_bytes()


def test_there_has_to_be_something_to_freeze(tmp_path: Path) -> None:
    config = generated.config(method="aggregate", freeze_epochs=1, boundary="features.block1")
    with pytest.raises(
        InputError, match="freeze_epochs: method 'aggregate' trains nothing below the boundary 'features"
    ):
        run(config, tmp_path / "run", dataset=generated.dataset(8), reporter=QUIET)
    assert not (tmp_path / "run").exists()


def test_the_epochs_have_to_suffice_for_all_layers(tmp_path: Path) -> None:
    config = generated.config(epochs=3, freeze_epochs=1, unfreeze_every=2)
    with pytest.raises(InputError, match=r"unfreeze_every: the 3 layers .* all from epoch 6 on: expected .* got 3"):
        run(config, tmp_path / "run", dataset=generated.dataset(8), reporter=QUIET)
    assert not (tmp_path / "run").exists()
