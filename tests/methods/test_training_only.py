"""Networks that training alone needs: in the checkpoint, and in nothing that is made of the model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

import generated
from domain_masks.batch import DomainBatch
from domain_masks.deploy import load
from domain_masks.deploy.exporting.export import export_model
from domain_masks.deploy.exporting.export_format import ExportFormat
from domain_masks.deploy.exporting.parity_images import generated_images
from domain_masks.errors import InputError
from domain_masks.methods import Aggregate
from domain_masks.methods.saving import load_model, save_model
from domain_masks.records.model_card import ModelDescription
from domain_masks.training import evaluate, run
from domain_masks.training.checkpoints import load_checkpoint
from methods.contract import of
from training import other_methods
from training.test_closed_form import Quiet


class Reconstructing(Aggregate):
    """A decoder per domain and a scale for them, an extra state among them, and one decoder that predict needs too."""

    name = "reconstructing"

    def __init__(self, backbone: nn.Module, context: Any, settings: Any) -> None:
        super().__init__(backbone, context, settings)
        image = torch.zeros(1, 3, context.image_size, context.image_size)
        width = self.network.pooled(self.network.frozen_features(image)).shape[1]
        self.decoders = nn.ModuleList(nn.Sequential(nn.Linear(width, width), Counting()) for _ in context.sources)
        self.scale = nn.Parameter(torch.ones(()))
        self.decoders_of_all = nn.Linear(width, len(context.classes))
        self.register_buffer("far", torch.tensor(float("inf")))

    def training_only(self) -> tuple[str, ...]:
        return ("decoders.", "scale", "far")

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        decoders = [*self.decoders.parameters(), self.scale]
        return {**super().parameter_groups(), "decoders": decoders, "all": list(self.decoders_of_all.parameters())}

    def training_loss(self, batch: DomainBatch) -> dict[str, Tensor]:
        features = self.network.pooled(self.boundary_features(batch))
        rebuilt = torch.stack([decoder(features) for decoder in self.decoders]).mean(0) * self.scale
        terms = super().training_loss(batch)
        reconstruction = (
            functional.mse_loss(rebuilt, features.detach()) + self.decoders_of_all(features).square().mean()
        )
        return {**terms, "reconstruction": reconstruction}

    def predict(self, batch: DomainBatch) -> dict[str, Tensor]:
        features = self.network.pooled(self.boundary_features(batch))
        return {name: logits + self.decoders_of_all(features) for name, logits in super().predict(batch).items()}


class Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, inputs: Tensor) -> Tensor:
        self.calls += 1
        return inputs

    def get_extra_state(self) -> int:
        return self.calls

    def set_extra_state(self, state: int) -> None:
        self.calls = state


class NeedsIt(Reconstructing):
    """Predicts by what it excludes from the model."""

    name = "needs_it"

    def training_only(self) -> tuple[str, ...]:
        return ("decoders", "decoders_of_all")


class NeedsItInSilence(Reconstructing):
    """Predicts something else where a part is gone."""

    name = "needs_it_in_silence"

    def predict(self, batch: DomainBatch) -> dict[str, Tensor]:
        return {name: logits * (1 if self.scale is None else 2) for name, logits in super().predict(batch).items()}


class Misspelt(Reconstructing):
    """Names a part that it does not have."""

    name = "misspelt"

    def training_only(self) -> tuple[str, ...]:
        return ("decoder",)


@pytest.fixture(autouse=True, scope="module")
def methods() -> Iterator[None]:
    with other_methods.registered(Reconstructing, NeedsIt, NeedsItInSilence, Misspelt):
        yield


@pytest.fixture(scope="module")
def data() -> Any:
    return generated.dataset(10)


@pytest.fixture(scope="module")
def finished(methods: None, data: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("runs") / "run"
    return run(generated.config(method="reconstructing", epochs=2), folder, dataset=data, reporter=Quiet())


def is_for_training(name: str) -> bool:
    return name.removeprefix("method.").startswith(("decoders.", "scale", "far"))


def test_the_checkpoint_has_it_and_the_model_has_not(finished: Any) -> None:
    for path in (finished.folder.last, finished.folder.best):
        assert sum(map(is_for_training, load_checkpoint(path)["method"])) == 2 * 3 + 2
    assert not any(map(is_for_training, load_file(finished.folder.model)))
    assert "method.decoders_of_all.weight" in load_file(finished.folder.model)
    card = finished.folder.model_card.read_text()
    assert "decoders.0" not in card
    assert "not_finite" not in json.loads(card)


def test_the_model_is_loaded_copied_and_saved_without_it(finished: Any, tmp_path: Path) -> None:
    method, _ = load_model(finished.folder.path)
    assert method.decoders is None
    assert method.scale is None
    assert not any(tensor.is_meta for tensor in (*method.parameters(), *method.buffers()))
    assert not any(map(is_for_training, method.state_dict()))
    save_model(tmp_path, method, "small", ModelDescription())
    assert (tmp_path / "model.safetensors").read_bytes() == finished.folder.model.read_bytes()


def test_it_is_exported_without_it(finished: Any, tmp_path: Path) -> None:
    model = load(finished.folder.path)
    images = generated_images(model.preprocessing)
    export_model(model.method, model.card, ExportFormat(format="pt2"), tmp_path / "model.pt2", images)
    program = torch.export.load(tmp_path / "model.pt2")
    assert program.state_dict
    assert not any("decoders.0" in name or "scale" in name for name in program.state_dict)


def test_a_run_goes_on_with_it_bit_for_bit(finished: Any, data: Any, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        run(generated.config(method="reconstructing", epochs=2), folder, dataset=data, reporter=Quiet("epoch 1"))
    resumed = run(
        generated.config(method="reconstructing", epochs=2), folder, dataset=data, resume=True, reporter=Quiet()
    )
    assert resumed.folder.model.read_bytes() == finished.folder.model.read_bytes()
    one, other = (load_checkpoint(there.folder.last)["method"] for there in (resumed, finished))
    assert one.keys() == other.keys()
    assert all(
        torch.equal(one[name], other[name]) if isinstance(one[name], Tensor) else one[name] == other[name]
        for name in one
    )


def test_a_run_is_measured_again_from_its_checkpoint(finished: Any, data: Any) -> None:
    before = finished.folder.model.read_bytes()
    again = evaluate(finished.folder.path, dataset=data, reporter=Quiet())
    assert again.results.out_of_domain.accuracy == finished.results.out_of_domain.accuracy
    assert finished.folder.model.read_bytes() == before


def test_another_run_starts_from_the_model_with_new_ones(finished: Any, data: Any, tmp_path: Path) -> None:
    settings = generated.config(method="reconstructing", init_from=finished.folder.path, epochs=1, lr=1e-9)
    started = run(settings, tmp_path / "run", dataset=data, reporter=Quiet())
    there, here = (load_checkpoint(file)["method"] for file in (finished.folder.best, started.folder.last))
    name = "decoders_of_all.weight"
    torch.testing.assert_close(here[name], there[name], rtol=1e-3, atol=1e-4)
    assert not torch.allclose(here["decoders.0.0.weight"], there["decoders.0.0.weight"], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "needs_it",
            r"has other predictions without decoders, decoders_of_all, .*excludes from the model \(TypeError",
        ),
        ("needs_it_in_silence", r"without decoders, scale, far, .*excludes from the model \(its logits differ"),
        ("misspelt", r"unknown part of method 'misspelt' for training alone 'decoder': .* Did you mean 'decoders'"),
    ],
)
def test_what_predicts_with_it_is_told_before_it_is_trained(name: str, message: str, data: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        run(generated.config(method=name), tmp_path / "run", dataset=data, reporter=Quiet())
    assert not (tmp_path / "run").exists()


def test_what_predicts_with_it_is_told_when_its_model_is_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"method 'needs_it' has other predictions"):
        save_model(tmp_path, of(NeedsIt), "small", ModelDescription())
    assert not (tmp_path / "model.json").exists()
