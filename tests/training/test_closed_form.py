"""Methods without gradients, features that stay, and what a method keeps besides parameters, in whole runs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import generated
from domain_masks.batch import DomainBatch
from domain_masks.errors import DivergedError, InputError
from domain_masks.methods import Aggregate, Method
from domain_masks.methods.saving import largest_file, load_model, save_model
from domain_masks.records import Predictions
from domain_masks.records.model_card import ModelDescription
from domain_masks.training import evaluate, run
from domain_masks.training.checkpoints import load_checkpoint
from domain_masks.training.timing import measure
from methods.contract import of
from training import other_methods
from training.other_methods import FeaturesAlone, NearestMean, Remembering

FROZEN = {"freeze_features": True, "views": 1}


class Quiet:
    def __init__(self, stop_at: str | None = None) -> None:
        self.stop_at = stop_at

    def say(self, line: str) -> None:
        if self.stop_at is not None and line.startswith(self.stop_at):
            raise KeyboardInterrupt

    def track(self, items: Iterable[Any], total: int, what: str) -> Iterator[Any]:
        count = 0
        for item in items:
            count += 1
            yield item
        if "epoch" not in what:
            assert count == total, what


class WithNorm(NearestMean):
    """Has batch norm in F, whose statistics must stay."""

    name = "with_norm"

    def __init__(self, backbone: nn.Module, context: Any, settings: Any) -> None:
        backbone.features.add_module("norm", nn.BatchNorm2d(_channels(backbone, context.image_size)))
        super().__init__(backbone, context, settings)


def _channels(backbone: Any, size: int) -> int:
    with torch.no_grad():
        return int(backbone.features(torch.zeros(1, 3, size, size)).shape[1])


@pytest.fixture(autouse=True)
def methods() -> Iterator[None]:
    with other_methods.registered(NearestMean, WithNorm, FeaturesAlone, Remembering):
        yield


@pytest.fixture(scope="module")
def data() -> Any:
    return generated.dataset(10)


@pytest.mark.parametrize("settings", [{}, FROZEN, {"fast": True}], ids=["images", "frozen", "fast"])
def test_a_closed_form_leaves_a_whole_run(settings: dict[str, Any], data: Any, tmp_path: Path) -> None:
    done = run(generated.config(method="with_norm", **settings), tmp_path / "run", dataset=data, reporter=Quiet())
    assert done.results.epochs_run == 0
    assert done.results.best_epoch is None
    assert done.results.in_domain.accuracy > 0.6
    folder = done.folder
    for file in (folder.last, folder.best, folder.model, folder.model_card, folder.predictions):
        assert file.is_file(), file
    state = load_checkpoint(folder.best)["method"]
    assert not state["network.network.features.norm.running_mean"].any()
    assert int(state["network.network.features.norm.num_batches_tracked"]) == 0
    assert evaluate(folder.path, Quiet(), dataset=data).results.in_domain == done.results.in_domain
    # The model answers as the run did.
    method, _ = load_model(folder.path)
    assert torch.equal(method.means, state["means"])
    # And a run that was killed before its results were written computes them.
    before = folder.results.read_text()
    folder.results.unlink()
    resumed = run(
        generated.config(method="with_norm", **settings), folder.path, resume=True, dataset=data, reporter=Quiet()
    )
    assert json.loads(folder.results.read_text())["in_domain"] == json.loads(before)["in_domain"]
    assert resumed.results.epochs_run == 0


def test_its_means_are_those_of_evaluation(data: Any, tmp_path: Path) -> None:
    done = run(generated.config(method="nearest_mean"), tmp_path / "run", dataset=data, reporter=Quiet())
    method, _ = load_model(done.folder.path)
    predictions = Predictions.load(done.folder.predictions)
    assert set(predictions.logits) == {"predictions"}
    assert torch.isfinite(method.means).all()
    assert method.means.any(dim=1).all()


def test_what_it_costs_can_be_measured(data: Any) -> None:
    cost = measure(generated.config(method="nearest_mean"), data, Quiet())
    assert cost.training > 0
    assert cost.evaluation > 0


def test_buffers_that_change_their_form_are_refused(data: Any, tmp_path: Path) -> None:
    class Growing(NearestMean):
        name = "growing"

        def fit_closed_form(self, features: DomainBatch) -> None:
            self.means = torch.zeros(len(features), 3)

    with other_methods.registered(Growing), pytest.raises(InputError, match=r"other tensors after .* \(means; "):
        run(generated.config(method="growing"), tmp_path / "run", dataset=data, reporter=Quiet())


class Landmarks(NearestMean):
    """Keeps a third of the training images' features; how many that are, the data decide."""

    name = "landmarks"
    every: ClassVar[int] = 3

    def __init__(self, backbone: nn.Module, context: Any, settings: Any) -> None:
        super().__init__(backbone, context, settings)
        self.kept: Tensor
        self.labels: Tensor
        self.register_buffer("kept", torch.zeros(0, self.means.shape[1]))
        self.register_buffer("labels", torch.zeros(0, dtype=torch.int64))

    def fit_closed_form(self, features: DomainBatch) -> None:
        super().fit_closed_form(features)
        self.kept, self.labels = features.features.flatten(1)[:: self.every], features.labels[:: self.every]

    def predict(self, batch: DomainBatch) -> dict[str, Tensor]:
        nearest = torch.cdist(self.boundary_features(batch).flatten(1), self.kept).argmin(1) if len(self.kept) else None
        logits = super().predict(batch)["predictions"]
        return {
            "predictions": logits
            if nearest is None
            else logits + torch.eye(len(self.context.classes)).to(logits)[self.labels[nearest]]
        }


@pytest.mark.parametrize("settings", [{}, FROZEN], ids=["images", "frozen"])
def test_buffers_whose_length_the_data_decide_are_kept(settings: dict[str, Any], data: Any, tmp_path: Path) -> None:
    with other_methods.registered(Landmarks):
        config = generated.config(method="landmarks", **settings)
        done = run(config, tmp_path / "run", dataset=data, reporter=Quiet())
        state = load_checkpoint(done.folder.last)["method"]
        method, card = load_model(done.folder.path)
        assert len(method.kept) == len(method.labels) == 16
        assert torch.equal(method.kept, state["kept"])
        assert evaluate(done.folder.path, Quiet(), dataset=data).results.in_domain == done.results.in_domain
        done.folder.results.unlink()
        again = run(config, tmp_path / "run", resume=True, dataset=data, reporter=Quiet())
        assert again.results.in_domain == done.results.in_domain
        save_model(tmp_path / "copy", method, card.backbone, ModelDescription(network=card.network))
        assert (tmp_path / "copy" / "model.safetensors").read_bytes() == done.folder.model.read_bytes()
        size = done.folder.model.stat().st_size
        assert size < largest_file(card, done.folder.model_card) < size + 2 * 64_000_000 + 101_000_000


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        (
            "kept",
            torch.zeros(5, 7),
            r"method\.kept: expected F32 \[any, 256\] of at most 64,000,000 bytes, got F32 \[5, 7\]",
        ),
        ("kept", torch.zeros(70000, 256), r"method\.kept: expected F32 \[any, .*got F32 \[70000, 256\]"),
        ("labels", torch.zeros(5), r"method\.labels: expected I64 \[any\] .*got F32 \[5\]"),
        ("means", torch.zeros(9, 256), r"method\.means: expected F32 \[4, 256\], got F32 \[9, 256\]"),
    ],
)
def test_a_file_with_buffers_of_another_form_is_refused(
    name: str, tensor: Tensor, message: str, tmp_path: Path
) -> None:
    with other_methods.registered(Landmarks):
        method = of(Landmarks)
        save_model(tmp_path, method, "small", ModelDescription())
        path = tmp_path / "model.safetensors"
        save_file({**load_file(path), f"method.{name}": tensor}, path)
        with pytest.raises(InputError, match=message):
            load_model(tmp_path)


def test_buffers_that_become_too_large_are_refused(data: Any, tmp_path: Path) -> None:
    class Hoarding(Landmarks):
        name = "hoarding"

        def fit_closed_form(self, features: DomainBatch) -> None:
            super().fit_closed_form(features)
            self.kept = self.kept.new_zeros(16_000_000 // self.kept.shape[1] + 1, self.kept.shape[1])

    with (
        other_methods.registered(Hoarding),
        pytest.raises(InputError, match=r"\(kept; kept: .*at most 64,000,000 bytes"),
    ):
        run(generated.config(method="hoarding"), tmp_path / "run", dataset=data, reporter=Quiet())


def test_a_closed_form_that_is_not_finite_is_not_saved(data: Any, tmp_path: Path) -> None:
    class Empty(NearestMean):
        name = "empty"

        def fit_closed_form(self, features: DomainBatch) -> None:
            self.means[0] = features.features[:0].flatten(1).mean(0)

    with other_methods.registered(Empty), pytest.raises(DivergedError, match=r"NaN or infinite .*means"):
        run(generated.config(method="empty"), tmp_path / "run", dataset=data, reporter=Quiet())


def test_a_method_has_to_say_how_it_learns() -> None:
    class Silent(Method):
        name = "silent"

        def predict(self, batch: DomainBatch) -> dict[str, Tensor]:
            return {}

    with pytest.raises(InputError, match=r"method 'silent' cannot be trained: .* fit_closed_form"):
        of(lambda backbone, context, settings: Silent(context, settings))


@pytest.mark.parametrize("frozen", [{}, FROZEN], ids=["images", "frozen"])
def test_a_method_that_needs_features_gets_them_alone(frozen: dict[str, Any], data: Any, tmp_path: Path) -> None:
    FeaturesAlone.got.clear()
    done = run(
        generated.config(method="features_alone", epochs=2, **frozen), tmp_path / "run", dataset=data, reporter=Quiet()
    )
    assert set(FeaturesAlone.got) == {(True, False)}
    method, _ = load_model(done.folder.path)
    start = of(FeaturesAlone).network.task_state()
    fresh = run(generated.config(method="nearest_mean", epochs=1), tmp_path / "fresh", dataset=data, reporter=Quiet())
    untrained, _ = load_model(fresh.folder.path)
    for name, value in method.network.network.state_dict().items():
        same = torch.equal(value, untrained.network.network.state_dict()[name])
        assert same == (name not in start), name


def test_extra_state_and_infinite_buffers_come_back(data: Any, tmp_path: Path) -> None:
    settings = generated.config(method="remembering", epochs=3)
    whole = run(settings, tmp_path / "whole", dataset=data, reporter=Quiet())
    with pytest.raises(KeyboardInterrupt):
        run(settings, tmp_path / "run", dataset=data, reporter=Quiet("epoch 1"))
    resumed = run(settings, tmp_path / "run", resume=True, dataset=data, reporter=Quiet())
    assert resumed.folder.model.read_bytes() == whole.folder.model.read_bytes()
    assert load_checkpoint(whole.folder.last)["method"]["_extra_state"]["steps"] == 9
    method, card = load_model(whole.folder.path)
    assert method.steps == 3 * whole.results.best_epoch
    assert card.not_finite == ["method.never"]
    assert torch.isnan(method.never).all()
    assert 0 < float(method.least) < 10
    assert evaluate(whole.folder.path, Quiet(), dataset=data).results.in_domain == whole.results.in_domain


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({1, 2}, r"holds a builtins\.set"),
        ({"a": object()}, r"holds a builtins\.object"),
        (torch.zeros(20_000_000), r"holds 80,000,000 bytes"),
    ],
)
def test_extra_state_that_no_file_keeps_is_refused(value: Any, message: str, data: Any, tmp_path: Path) -> None:
    class Odd(Aggregate):
        name = "odd"
        kept: ClassVar[Any] = value

        def get_extra_state(self) -> Any:
            return self.kept

        def set_extra_state(self, state: Any) -> None:
            pass

    with other_methods.registered(Odd), pytest.raises(InputError, match=rf"extra state _extra_state {message}"):
        run(generated.config(method="odd"), tmp_path / "run", dataset=data, reporter=Quiet())
    assert not (tmp_path / "run").exists()


def test_extra_state_that_cannot_be_given_back_is_refused() -> None:
    class Half(nn.Module):
        def get_extra_state(self) -> int:
            return 1

    from domain_masks.methods.extra_state import check_extra_state  # noqa: PLC0415

    with pytest.raises(InputError, match="module 0 has get_extra_state without set_extra_state"):
        check_extra_state(nn.Sequential(Half()))


@pytest.mark.parametrize("where", ["least", "average.weight"])
def test_what_becomes_infinite_is_not_saved(where: str, data: Any, tmp_path: Path) -> None:
    class Breaking(Remembering):
        name = "breaking"

        def step(self, batch: DomainBatch, engine: Any) -> dict[str, Tensor]:
            terms = super().step(batch, engine)
            with torch.no_grad():
                self.state_dict()[where].fill_(float("-inf"))
            return terms

    with other_methods.registered(Breaking), pytest.raises(DivergedError, match=rf"NaN or infinite .*{where}"):
        run(generated.config(method="breaking", epochs=1), tmp_path / "run", dataset=data, reporter=Quiet())
