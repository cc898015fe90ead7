"""Whole runs: what they leave behind, that they repeat, resume, and never see a held-out label."""

from __future__ import annotations

import csv
import json
import re
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import generated
from domain_masks.batch import DomainBatch
from domain_masks.errors import DivergedError, InputError, RunFolderError
from domain_masks.methods import METHODS as METHOD_CLASSES
from domain_masks.methods import Aggregate
from domain_masks.methods.prediction import predict_batches
from domain_masks.methods.saving import load_model
from domain_masks.networks import build_backbone
from domain_masks.records import Predictions, RunFolder
from domain_masks.records.cache import CACHE_VARIABLE
from domain_masks.records.config import parse_config, read_config
from domain_masks.training import Experiment, evaluate, run
from domain_masks.training.checkpoints import load_checkpoint
from domain_masks.training.launching import launch

METHODS = ("dmg", "aggregate", "multi_headed")


class Silent:
    """Keeps what is said; ``stop_at`` interrupts when a line of that epoch comes."""

    def __init__(self, stop_at: str | None = None) -> None:
        self.lines: list[str] = []
        self.tracked: list[str] = []
        self.stop_at = stop_at

    def say(self, line: str) -> None:
        self.lines.append(line)
        if self.stop_at is not None and line.startswith(self.stop_at):
            raise KeyboardInterrupt

    def track(self, items: Iterable[Any], total: int, what: str) -> Iterator[Any]:
        self.tracked.append(what)
        yield from items


@pytest.fixture(scope="module")
def data() -> Any:
    return generated.dataset()


@pytest.fixture(scope="module")
def finished(data: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return run(generated.config(), tmp_path_factory.mktemp("runs") / "dmg", dataset=data, reporter=Silent())


def weights(folder: RunFolder) -> bytes:
    return folder.model.read_bytes()


def test_run_folder_is_complete(finished: Any) -> None:
    folder = finished.folder
    for file in (folder.config, folder.environment, folder.metrics, folder.results, folder.predictions):
        assert file.is_file(), file
    for file in (folder.last, folder.best, folder.model, folder.model_card):
        assert file.is_file(), file
    with folder.metrics.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert {"loss", "loss/classification", "loss/overlap", "validation_accuracy", "lr/body", "lr/masks"} <= set(rows[0])


def test_results_have_the_keys_that_others_read(finished: Any) -> None:
    results = json.loads(finished.folder.results.read_text())
    assert results["sources"] == ["dots", "plain"]
    assert results["targets"] == ["stripes"]
    assert results["protocol"] == {"selection": "source-validation", "target_labels_used": False}
    assert results["out_of_domain"]["split"] == "all"
    assert results["out_of_domain"]["count"] == 60
    assert results["in_domain"]["split"] == "test"
    assert set(results["known_domain"]["per_domain"]) == {"dots", "plain"}
    assert set(results["out_of_domain"]["by_ensemble"]) == {
        "predictions",
        "masks",
        "weighted",
        "known:dots",
        "known:plain",
    }
    assert set(results["masks"]) == {"classifier.hidden", "classifier.head"}
    assert results["epochs_run"] == 3


def test_aggregate_has_no_numbers_of_masks(data: Any, tmp_path: Path) -> None:
    results = run(
        generated.config(method="aggregate", epochs=1), tmp_path / "r", dataset=data, reporter=Silent()
    ).results
    assert "known_domain" not in results.to_dict()
    assert "masks" not in results.to_dict()


def test_learns_the_colours(finished: Any) -> None:
    assert finished.results.in_domain.accuracy > 0.6
    assert finished.results.epochs_run == 3


def test_config_reproduces_the_run(finished: Any, data: Any, tmp_path: Path) -> None:
    again = parse_config(read_config(finished.folder.config))
    second = run(again, tmp_path / "again", dataset=data, reporter=Silent())
    assert weights(second.folder) == weights(finished.folder)


def test_another_seed_is_another_run(finished: Any, data: Any, tmp_path: Path) -> None:
    other = run(generated.config(seed=1), tmp_path / "other", dataset=data, reporter=Silent())
    assert weights(other.folder) != weights(finished.folder)


def test_workers_change_nothing(finished: Any, data: Any, tmp_path: Path) -> None:
    other = run(generated.config(workers=2), tmp_path / "workers", dataset=data, reporter=Silent())
    assert weights(other.folder) == weights(finished.folder)


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_resumed_run_ends_bit_for_bit_like_an_undisturbed_one(
    method: str, frozen: bool, data: Any, tmp_path: Path
) -> None:
    settings = generated.config(
        method=method, schedule="exponential", **({"freeze_features": True, "views": 2} if frozen else {})
    )
    whole = run(settings, tmp_path / "whole", dataset=data, reporter=Silent())
    with pytest.raises(KeyboardInterrupt):
        run(settings, tmp_path / "broken", dataset=data, reporter=Silent(stop_at="epoch 2"))
    resumed = run(settings, tmp_path / "broken", resume=True, dataset=data, reporter=Silent())
    assert weights(resumed.folder) == weights(whole.folder)
    columns = [[row[:5] for row in csv.reader(r.folder.metrics.open())] for r in (whole, resumed)]
    assert columns[0] == columns[1]
    assert (
        Predictions.load(resumed.folder.predictions).ids.shape == Predictions.load(whole.folder.predictions).ids.shape
    )


def test_resume_of_a_finished_run_says_so(finished: Any, data: Any) -> None:
    reporter = Silent()
    before = finished.folder.model.stat().st_mtime_ns
    again = run(generated.config(), finished.folder.path, resume=True, dataset=data, reporter=reporter)
    assert again.results == finished.results
    assert "finished" in reporter.lines[-1]
    assert finished.folder.model.stat().st_mtime_ns == before


@pytest.mark.parametrize("change", [{"epochs": 5}, {"epochs": 2}, {"patience": 9}, {"max_time": "2h"}])
def test_finished_run_that_is_to_go_on_names_the_way(finished: Any, data: Any, change: dict[str, Any]) -> None:
    before = finished.folder.results.read_bytes()
    with pytest.raises(RunFolderError, match=rf"finished run.*{next(iter(change))} \(was .*--init_from"):
        run(generated.config(**change), finished.folder.path, resume=True, dataset=data, reporter=Silent())
    assert finished.folder.results.read_bytes() == before


@pytest.mark.parametrize("change", [{"lr": 0.5}, {"seed": 8}, {"weight_decay": 0.5}, {"optimizer": "sgd"}])
def test_finished_run_with_other_settings_is_refused(finished: Any, data: Any, change: dict[str, Any]) -> None:
    with pytest.raises(RunFolderError, match=rf"other settings: {next(iter(change))} \(was"):
        run(generated.config(**change), finished.folder.path, resume=True, dataset=data, reporter=Silent())


def test_resume_for_another_number_of_epochs_says_what_that_means(data: Any, tmp_path: Path) -> None:
    settings = {"epochs": 4, "schedule": "cosine"}
    with pytest.raises(KeyboardInterrupt):
        run(generated.config(**settings), tmp_path / "r", dataset=data, reporter=Silent(stop_at="epoch 2/4"))
    with pytest.raises(RunFolderError, match="has 2 epochs already: expected --epochs 2 or more"):
        run(generated.config(**settings | {"epochs": 1}), tmp_path / "r", resume=True, dataset=data, reporter=Silent())
    reporter = Silent()
    longer = generated.config(**settings | {"epochs": 5})
    assert run(longer, tmp_path / "r", resume=True, dataset=data, reporter=reporter).results.epochs_run == 5
    (said,) = [line for line in reporter.lines if "instead of" in line]
    assert (
        "resumed for 5 epochs instead of 4: what is done had the learning rates of schedule cosine of a run of 4"
        in said
    )


def test_resume_with_other_settings_is_refused(data: Any, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(generated.config(), tmp_path / "r", dataset=data, reporter=Silent(stop_at="epoch 1"))
    with pytest.raises(RunFolderError, match=r"lr \(was 0.003, now 0.5\)"):
        run(generated.config(lr=0.5), tmp_path / "r", resume=True, dataset=data, reporter=Silent())


def test_occupied_folder_is_refused_and_overwritten_on_request(finished: Any, data: Any) -> None:
    with pytest.raises(RunFolderError, match="--overwrite"):
        run(generated.config(), finished.folder.path, dataset=data, reporter=Silent())


class GuardedLabels(np.ndarray):
    """Labels that cannot be read where the domain is held out, until they are unlocked."""

    forbidden: np.ndarray
    locked = True

    def __getitem__(self, key: Any) -> Any:
        if GuardedLabels.locked and self.shape == GuardedLabels.forbidden.shape and GuardedLabels.forbidden[key].any():
            raise PermissionError("a label of the held-out domain was read")
        return np.asarray(self)[key]


@pytest.fixture
def guarded() -> Iterator[Any]:
    guarded = generated.dataset(labels_type=GuardedLabels)
    GuardedLabels.forbidden = guarded.domain_indices == generated.DOMAINS.index("stripes")
    GuardedLabels.locked = True
    yield guarded
    GuardedLabels.locked = True


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_held_out_labels_are_unreachable_until_the_model_is_chosen(
    method: str, frozen: bool, guarded: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = generated.config(method=method, epochs=2, **({"freeze_features": True, "views": 1} if frozen else {}))
    with pytest.raises(PermissionError):
        run(settings, tmp_path / "locked", dataset=guarded, reporter=Silent())
    assert load_checkpoint(tmp_path / "locked" / "checkpoints" / "last.ckpt")["progress"]["epochs_done"] == 2

    measure = Experiment.predictions

    def unlock(self: Experiment) -> Predictions:
        GuardedLabels.locked = False
        return measure(self)

    monkeypatch.setattr(Experiment, "predictions", unlock)
    results = run(settings, tmp_path / "open", dataset=guarded, reporter=Silent()).results
    assert results.out_of_domain is not None
    assert results.protocol.target_labels_used is False


def test_guard_would_notice(guarded: Any) -> None:
    with pytest.raises(PermissionError):
        _ = guarded.labels[np.arange(len(guarded))]


def test_several_held_out_domains_and_none(data: Any, tmp_path: Path) -> None:
    digits = {"dataset": "digits", "size": 32, "augmentation": "none", "fast": True}
    both = run(generated.config(**digits, target="ink,mosaic"), tmp_path / "both", reporter=Silent()).results
    assert set(both.out_of_domain.per_domain) == {"ink", "mosaic"}
    none = run(generated.config(target="none", epochs=1), tmp_path / "none", dataset=data, reporter=Silent()).results
    assert none.out_of_domain is None
    assert none.sources == list(generated.DOMAINS)


def test_model_file_gives_the_same_predictions(finished: Any, data: Any) -> None:
    method, card = load_model(finished.folder.path)
    assert card.classes == list(generated.CLASSES)
    experiment = Experiment(
        parse_config(read_config(finished.folder.config)), data, launch(generated.config()), Silent()
    )
    stored = Predictions.load(finished.folder.predictions).select(split="held_out")
    logits, _, _ = predict_batches(method, experiment.batches(experiment.splits.held_out), experiment.prepare)
    for ensemble, values in logits.items():
        np.testing.assert_allclose(values, stored.of(ensemble), atol=1e-5)


def test_names_in_the_model_file_are_the_backbones_own(finished: Any) -> None:
    tensors = load_file(finished.folder.model)
    own = build_backbone("small", 3).state_dict()
    assert set(own) <= set(tensors)
    others = {name for name in set(tensors) - set(own) if not name.startswith("method.domain_classifier.")}
    assert others == {"masks.classifier.hidden", "masks.classifier.head"}


def test_evaluate_repeats_the_numbers(finished: Any, data: Any) -> None:
    before = finished.folder.results.read_text()
    again = evaluate(finished.folder.path, Silent(), dataset=data)
    assert again.results.out_of_domain == finished.results.out_of_domain
    assert again.results.known_domain == finished.results.known_domain
    assert again.results.masks == finished.results.masks
    assert json.loads(before)["in_domain"] == again.results.to_dict()["in_domain"]


def test_patience_and_time_budget_stop(data: Any, tmp_path: Path) -> None:
    patient = run(
        generated.config(epochs=30, lr=1e-9, patience=2), tmp_path / "patience", dataset=data, reporter=Silent()
    )
    assert patient.results.epochs_run == patient.results.best_epoch + 2
    timed = run(generated.config(epochs=30, max_time="0.001s"), tmp_path / "time", dataset=data, reporter=Silent())
    assert timed.results.epochs_run == 1


def test_resumed_run_does_not_train_beyond_its_patience(data: Any, tmp_path: Path) -> None:
    settings = generated.config(epochs=30, lr=1e-9, patience=1)
    with pytest.raises(KeyboardInterrupt):
        run(settings, tmp_path / "r", dataset=data, reporter=Silent(stop_at="stopped"))
    done = load_checkpoint(tmp_path / "r" / "checkpoints" / "last.ckpt")["progress"]["epochs_done"]
    resumed = run(settings, tmp_path / "r", resume=True, dataset=data, reporter=Silent())
    assert resumed.results.epochs_run == done


def test_diverging_run_names_the_step_and_keeps_the_checkpoint(
    data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = generated.config(lr=1e30, optimizer="sgd", epochs=8)
    with pytest.raises(
        DivergedError, match=r"step 2 \(batch 2 of epoch 1\).* dots/red/0.png.*No checkpoint had been written"
    ):
        run(settings, tmp_path / "r", dataset=data, reporter=Silent())

    class Poisoned(Aggregate):
        """Learns well until an image is not a number."""

        def training_loss(self, batch: DomainBatch) -> dict[str, torch.Tensor]:
            if batch.random is not None and batch.random.step == 9:
                batch.images[3] = torch.nan
            return super().training_loss(batch)

    monkeypatch.setitem(METHOD_CLASSES, "aggregate", Poisoned)
    with pytest.raises(DivergedError, match=r"step 10 .*The checkpoint of batch 3 of epoch 2 is whole"):
        run(
            generated.config(method="aggregate", checkpoint_every=1e-9), tmp_path / "p", dataset=data, reporter=Silent()
        )
    kept = load_checkpoint(tmp_path / "p" / "checkpoints" / "last.ckpt")
    assert all(torch.isfinite(value).all() for value in kept["method"].values())


def test_runs_of_every_precision_share_frozen_features_of_single_precision(
    data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = {}
    for first in ("bf16", "32"):
        monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / first))
        settings = generated.config(freeze_features=True, views=2, epochs=1, precision=first)
        run(settings, tmp_path / f"run-{first}", dataset=data, reporter=Silent())
        files = sorted((tmp_path / first / "features").rglob("*.npy"))
        assert files
        kept[first] = {str(file.relative_to(tmp_path / first)): np.load(file) for file in files}
    assert kept["bf16"].keys() == kept["32"].keys()
    for name, features in kept["bf16"].items():
        np.testing.assert_array_equal(features, kept["32"][name])


def test_frozen_features_are_computed_once_and_f_stays(data: Any, tmp_path: Path) -> None:
    settings = generated.config(freeze_features=True, views=2, epochs=2)
    first, second, third = Silent(), Silent(), Silent()
    one = run(settings, tmp_path / "one", dataset=data, reporter=first)
    assert any(what.startswith("features of dots") for what in first.tracked)
    run(
        generated.config(freeze_features=True, views=2, epochs=2, method="aggregate"),
        tmp_path / "two",
        dataset=data,
        reporter=second,
    )
    assert not any(what.startswith("features") for what in second.tracked)
    run(generated.config(freeze_features=True, views=3, epochs=1), tmp_path / "three", dataset=data, reporter=third)
    assert any(what.startswith("features") for what in third.tracked)
    fresh = Experiment(settings, data, launch(settings), Silent()).method.network.network.state_dict()
    trained = load_file(one.folder.model)
    assert all(torch.equal(value, trained[name]) for name, value in fresh.items() if name.startswith("features."))
    assert not torch.equal(fresh["classifier.head.weight"], trained["classifier.head.weight"])


def test_options_of_the_machine_train_as_well(data: Any, tmp_path: Path) -> None:
    options = {"precision": "bf16", "accumulate": 2, "clip": 1.0, "channels_last": True, "sampling": "balanced"}
    results = run(generated.config(**options), tmp_path / "r", dataset=data, reporter=Silent()).results
    assert results.in_domain.accuracy > 0.5


def test_compiled_network_trains(data: Any, tmp_path: Path) -> None:
    # Aggregate keeps the dropout of the task network, which draws as without.
    compiled, plain = (
        run(
            generated.config(method="aggregate", compile=on, epochs=2),
            tmp_path / str(on),
            dataset=data,
            reporter=Silent(),
        )
        for on in (True, False)
    )
    losses = [[float(row["loss"]) for row in csv.DictReader(r.folder.metrics.open())] for r in (compiled, plain)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    assert abs(compiled.results.in_domain.accuracy - plain.results.in_domain.accuracy) < 0.1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target": "strips"}, "did you mean 'stripes'"),
        ({"method": "dgm"}, "did you mean 'dmg'"),
        ({"backbone": "resnet81"}, "did you mean 'resnet18'"),
        ({"sites": ["classifier.haed"]}, "did you mean 'classifier.head'"),
        ({"boundary": "clasifier"}, "did you mean 'classifier'"),
        ({"target": None}, "--target"),
        ({"target": "dots,plain"}, "two source domains"),
        ({"augmentation": "pax"}, "augmentation"),
        ({"weights": "nowhere.pth"}, "nowhere.pth"),
        ({"method": {"name": "aggregate", "overlap_weight": 1}}, "overlap_weight"),
        ({"method": {"name": "dmg", "overlap_weight": -1}}, "overlap_weight"),
        ({"device": "cuda"}, "cuda"),
        ({"backbone": "mobilenet_v2", "size": 32, "batch": 1, "fast": True}, "batch normalisation.*--batch"),
    ],
)
def test_settings_that_cannot_be_used_are_one_message(
    changes: dict[str, Any], message: str, data: Any, tmp_path: Path
) -> None:
    if changes.get("device") == "cuda" and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(InputError, match=f"(?i){message}"):
        run(generated.config(**changes), tmp_path / "r", dataset=data, reporter=Silent())


def test_a_device_that_is_not_there_leaves_no_folder(
    data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(InputError, match="cuda"):
        run(generated.config(device="cuda"), tmp_path / "run", dataset=data, reporter=Silent())
    assert list(tmp_path.iterdir()) == []


def test_the_time_so_far_holds_what_was_done_before_the_first_step(
    data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = Experiment.sources

    def slow(self: Experiment) -> Any:
        time.sleep(0.6)
        return sources(self)

    monkeypatch.setattr(Experiment, "sources", slow)
    said: list[str] = []

    class Listening(Silent):
        def say(self, line: str) -> None:
            said.append(line)

    done = run(generated.config(epochs=2), tmp_path / "r", dataset=data, reporter=Listening()).results
    shown = [float(found[1]) for line in said if (found := re.search(r"([\d.]+) s so far", line))]
    assert len(shown) == 2
    assert shown[0] >= 0.6
    assert done.seconds["preparation"] >= 0.6
    assert shown[1] == pytest.approx(done.seconds["preparation"] + done.seconds["training"], abs=0.1)
    again = evaluate(tmp_path / "r", Silent(), dataset=data).results
    assert again.seconds["preparation"] == done.seconds["preparation"]


def test_an_operation_that_is_not_reproducible_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = "adaptive_avg_pool2d_backward_cuda does not have a deterministic implementation, but you set 'torch.use"

    def failing(*_: Any) -> None:
        raise RuntimeError(said)

    monkeypatch.setattr(METHOD_CLASSES["aggregate"], "step", failing)
    changes = {"method": "aggregate", "deterministic": True}
    with pytest.raises(InputError, match=r"no reproducible adaptive_avg_pool2d_backward_cuda .* leave out --determin"):
        run(generated.config(**changes), tmp_path / "run", dataset=generated.dataset(), reporter=Silent())
    said = "another problem"
    with pytest.raises(RuntimeError, match="another problem"):
        run(generated.config(**changes), tmp_path / "other", dataset=generated.dataset(), reporter=Silent())
